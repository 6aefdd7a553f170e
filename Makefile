# make demo   synthetic patients -> train -> infer -> evaluate -> runs/demo/report.html
# make reference   the small synthetic model that ships, made again    make test   install and run the tests        make lint   ruff and mypy        make bench   the benchmarks
# The plain pip route, for Windows too, is in README.md.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
DEMO := runs/demo
REFERENCE := models/reference/synthetic.hrct
DEMO_TRAINING_PATIENTS ?= 60
DEMO_TEST_PATIENTS ?= 40
# Further patients of both cohorts who are in the case table only, as in any registry: the head needs events.
DEMO_PATIENTS_WITHOUT_SCAN ?= 400

.PHONY: demo reference test lint bench install clean

install: $(VENV)/.installed

# torch and torchvision must come from one place in one command: a CPU-only torch beside the ordinary torchvision
# does not import.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	@touch $@

demo: install
	rm -rf $(DEMO)
	$(RUN) -m data_pipeline phantoms --out $(DEMO)/training_patients --patients $(DEMO_TRAINING_PATIENTS) \
		--without-scan $(DEMO_PATIENTS_WITHOUT_SCAN) --seed 1 --size tiny
	$(RUN) -m data_pipeline phantoms --out $(DEMO)/test_patients --patients $(DEMO_TEST_PATIENTS) \
		--without-scan $(DEMO_PATIENTS_WITHOUT_SCAN) --seed 2 --size tiny
	$(RUN) train.py configs/train/demo.yaml
	$(RUN) infer.py $(DEMO)/test_patients/scans --model $(DEMO)/training/model.hrct \
		--cases $(DEMO)/test_patients/cases.csv --out $(DEMO)
	$(RUN) evaluate.py $(DEMO)/predictions.csv --cases $(DEMO)/test_patients/cases.csv --out $(DEMO)/evaluation \
		--training-cases $(DEMO)/training_patients/cases.csv --training-predictions $(DEMO)/training/out_of_fold.csv
	@echo
	@echo "Done, on synthetic patients only. Look at:"
	@echo "  $(DEMO)/report.html                 every patient: slices, pattern, prognosis"
	@echo "  $(DEMO)/evaluation/report.html      how well it did on patients it never saw"
	@echo "  $(DEMO)/training/model.hrct         the model: try it on your own folder with infer.py"

# Made again whenever phantoms, quantitative CT, the graph or the artefact's format change; about five minutes.
reference: install
	rm -rf runs/reference $(REFERENCE)
	$(RUN) -m data_pipeline phantoms --out runs/reference/patients --patients 120 --without-scan 300 --seed 7 --size tiny
	$(RUN) train.py configs/train/reference.yaml
	mkdir -p $(dir $(REFERENCE)) && cp -r runs/reference/training/model.hrct $(REFERENCE)
	$(RUN) -m models verify

# The extras too, so that no test is skipped for want of a package.
$(VENV)/.tested: $(VENV)/.installed
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable ".[test,eval,pacs,dicom-out,cluster,export]"
	@touch $@

test: $(VENV)/.tested
	$(RUN) -m pytest -n 2 --dist loadfile

lint: install
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable ".[lint]"
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

bench: install
	@for script in benchmarks/*.py; do echo "== $$script"; $(RUN) $$script || exit 1; done

clean:
	rm -rf $(DEMO) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
