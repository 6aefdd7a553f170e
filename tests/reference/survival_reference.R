# Makes survival_reference.json: survival figures of R's packages on a fixed data set, with their versions.
#
#   Rscript tests/reference/survival_reference.R
#
# Needs the packages survival, cmprsk, prodlim and riskRegression. The data are drawn by a linear congruential
# generator written out here (as in evaluation_reference.py); the stored figures let the tests check ours without R.

suppressPackageStartupMessages({
  library(survival); library(cmprsk); library(prodlim); library(riskRegression)
})

num_cases <- 180
days <- c(120, 240, 480)
tau <- 600
edges <- c(0, 60, 180, 400, 1500)

uniform <- function(seed, n) {  # Numerical Recipes: x -> 1664525 x + 1013904223 mod 2^32, exact in doubles
  state <- seed
  sapply(seq_len(n), function(i) {
    state <<- (1664525 * state + 1013904223) %% 2^32
    (state + 0.5) / 2^32
  })
}

x1 <- 2 * uniform(11, num_cases) - 1
x2 <- as.numeric(uniform(12, num_cases) < 0.35)
event_time <- -log(uniform(13, num_cases)) / (exp(1.1 * x1 + 0.7 * x2) / 420)
censored <- -log(uniform(14, num_cases)) * 800
cause <- ifelse(event_time <= censored, ifelse(uniform(15, num_cases) < 0.6, 1, 2), 0)
time <- ceiling(pmin(event_time, censored, 1500) / 3) * 3  # ties, as whole visits make them
frame <- data.frame(id = seq_len(num_cases), time, cause, x1, x2)
any_event <- as.numeric(cause > 0)

# Kaplan-Meier, reverse Kaplan-Meier, Aalen-Johansen by two packages
km <- survfit(Surv(time, any_event) ~ 1)
at <- summary(km, times = days)
reverse <- survfit(Surv(time, 1 - any_event) ~ 1)
states <- survfit(Surv(time, factor(cause, 0:2, c("none", "a", "b"))) ~ 1)
aj <- summary(states, times = days)$pstate
gray <- timepoints(cuminc(time, cause), days)$est

# Cox: Breslow and Efron, plain and with a ridge on centred columns
cox <- coxph(Surv(time, any_event) ~ x1 + x2, ties = "breslow", x = TRUE)
cox_curve <- summary(survfit(cox, newdata = data.frame(x1 = 0.5, x2 = 1), ctype = 1), times = days)$surv
ridged <- coxph(Surv(time, any_event) ~ ridge(x1, x2, theta = 10, scale = FALSE), ties = "breslow")

# Piecewise exponential, cause 1 and cause 2: Poisson regression with an offset, log-time effect of x2
pieces <- survSplit(Surv(time, any_event) ~ ., frame, cut = edges[-c(1, length(edges))], episode = "piece")
pieces$exposure <- pieces$time - pieces$tstart
width_mean_log <- function(a, b) {  # mean of log(t / 180) over (a, b)
  term <- if (a > 0) a * log(a) else 0
  (b * log(b) - term) / (b - a) - 1 - log(180)
}
log_time <- mapply(width_mean_log, edges[-length(edges)], edges[-1])
pieces$log_time <- log_time[pieces$piece]
piecewise <- lapply(1:2, function(k) {
  pieces$is_event <- as.numeric(pieces$any_event == 1 & pieces$cause == k)
  glm(is_event ~ 0 + factor(piece) + x1 + x2 + x2:log_time + offset(log(exposure)), family = poisson, data = pieces,
      control = glm.control(epsilon = 1e-12, maxit = 100))
})
coefficients <- lapply(piecewise, function(fit) unname(coef(fit)))
poisson_loss <- sapply(1:2, function(k) {  # negative log-likelihood: expected - sum of log hazards at the events
  fit <- piecewise[[k]]
  hit <- pieces$any_event == 1 & pieces$cause == k
  sum(fitted(fit)) - sum((predict(fit) - log(pieces$exposure))[hit])
})

# Its cumulative incidence for x1 = 0.5, x2 = 1, by numerical integration
hazard <- function(t, k) {
  piece <- findInterval(t, edges, left.open = TRUE, rightmost.closed = TRUE)
  piece <- pmin(pmax(piece, 1), length(edges) - 1)
  b <- coefficients[[k]]
  j <- length(edges) - 1
  exp(b[piece] + 0.5 * b[j + 1] + b[j + 2] + b[j + 3] * log_time[piece])
}
integral <- function(f, upper) {
  cuts <- c(edges[edges < upper], upper)
  sum(sapply(seq_len(length(cuts) - 1), function(i) integrate(f, cuts[i], cuts[i + 1], rel.tol = 1e-12)$value))
}
total <- function(t) sapply(t, function(u) integral(function(s) hazard(s, 1) + hazard(s, 2), u))
incidence <- t(sapply(1:2, function(k) {
  sapply(days, function(d) integral(function(t) hazard(t, k) * exp(-total(t)), d))
}))
alive <- exp(-total(days))

# Prediction error and ranking: IPCW Brier score and AUC, one event and competing risks; Uno's C
free <- exp(-outer(exp(0.8 * x1 + 0.4 * x2) / 420, days))
scored <- Score(list(m = 1 - free), Surv(time, any_event) ~ 1, data = data.frame(time, any_event), times = days,
                cens.model = "km", metrics = c("Brier", "AUC"), se.fit = FALSE, null.model = FALSE)
share <- 0.6 * (1 - free)
competing <- Score(list(m = share), Hist(time, cause) ~ 1, data = data.frame(time, cause), times = days, cause = 1,
                   cens.model = "km", metrics = c("Brier", "AUC"), se.fit = FALSE, null.model = FALSE)
score <- x1 + 0.5 * x2
uno <- concordance(Surv(time, any_event) ~ score, reverse = TRUE, timewt = "n/G2", ymax = tau)
harrell <- concordance(Surv(time, any_event) ~ score, reverse = TRUE)

# Recalibration of a level: Poisson intercept with the expected events as offset
expected <- 0.5 * exp(0.6 * x1) / 420 * time
level <- glm(any_event ~ 1 + offset(log(expected)), family = poisson)

number <- function(v) paste0("[", paste(format(v, digits = 17, scientific = TRUE, trim = TRUE), collapse = ", "), "]")
table_of <- function(m) paste0("[", paste(apply(m, 1, number), collapse = ", "), "]")
version_of <- function(p) sprintf('"%s": "%s"', p, as.character(packageVersion(p)))
entry <- function(name, value) sprintf(' "%s": %s', name, value)
figures <- c(
  entry("kaplan_meier", number(at$surv)),
  entry("kaplan_meier_standard_error", number(at$std.err)),
  entry("median_follow_up", number(unname(quantile(reverse, 0.5)$quantile))),
  entry("aalen_johansen_survival", table_of(t(aj[, 2:3]))),
  entry("aalen_johansen_cmprsk", table_of(unname(gray))),
  entry("cox_breslow", number(coef(cox))),
  entry("cox_efron", number(coef(coxph(Surv(time, any_event) ~ x1 + x2, ties = "efron")))),
  entry("cox_breslow_ridge_10", number(coef(ridged))),
  entry("cox_survival_at_half_one", number(cox_curve)),
  entry("log_time", number(log_time)),
  entry("piecewise_cause_1", number(coefficients[[1]])),
  entry("piecewise_cause_2", number(coefficients[[2]])),
  entry("piecewise_loss", number(poisson_loss)),
  entry("piecewise_survival", number(alive)),
  entry("piecewise_incidence", table_of(incidence)),
  entry("brier", number(scored$Brier$score$Brier)),
  entry("auc", number(scored$AUC$score$AUC)),
  entry("brier_competing", number(competing$Brier$score$Brier)),
  entry("auc_competing", number(competing$AUC$score$AUC)),
  entry("uno_c", number(uno$concordance)),
  entry("harrell_c", number(harrell$concordance)),
  entry("recalibration_intercept", number(coef(level)))
)
packages <- c("survival", "cmprsk", "prodlim", "riskRegression")
versions <- paste(c(sprintf('"R": "%s"', paste(R.version$major, R.version$minor, sep = ".")),
                    sapply(packages, version_of)), collapse = ", ")
document <- paste0("{\n", paste(c(
  ' "made_by": "tests/reference/survival_reference.R"',
  sprintf(' "versions": {%s}', versions),
  entry("days", number(days)), entry("tau", number(tau)), entry("edges", number(edges)),
  entry("x1", number(x1)), entry("x2", number(x2)), entry("time_days", number(time)), entry("cause", number(cause)),
  entry("event_free", table_of(free)),
  sprintf(' "figures": {\n%s\n }', paste(paste0(" ", figures), collapse = ",\n"))
), collapse = ",\n"), "\n}\n")
here <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
cat(document, file = file.path(dirname(here), "survival_reference.json"))
