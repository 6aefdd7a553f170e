"""What people typed into descriptions: phase, position, contrast, kind of picture, in the languages of many hospitals.

Words are looked for in text without accents and in lower case. A pattern stands here only where the word means one
thing on a CT scanner; what no description says is not guessed.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from data_pipeline.dicom_images import SharedFacts


def _words(*alternatives: str) -> re.Pattern[str]:
    """Whole words, letters of any script being letters; CJK text has no word borders and needs none."""
    return re.compile(rf"(?<![^\W\d_])(?:{'|'.join(alternatives)})(?![^\W\d_])")


def _anywhere(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives))


# English, German, French, Spanish, Italian, Portuguese, Dutch, Scandinavian, Polish, Czech, Turkish, Finnish, Hungarian
_EXPIRATORY = _words(
    r"expi\w*", r"exp", r"ex[ -]?sp\w*", r"end[ -]?exp\w*", r"exhal\w*", r"ausatm\w*", r"espir\w*", r"uitadem\w*",
    r"eksp\w*", r"utandning\w*", r"wydech\w*", r"vydech\w*", r"uloshengity\w*", r"kilegz\w*", r"выдох\w*", r"εκπνο\w*",
)  # fmt: skip
_EXPIRATORY_CJK = _anywhere("呼气", "呼氣", "呼気", "호기")
_INSPIRATORY = _words(
    r"inspi\w*", r"insp?", r"deep breath", r"inhal\w*", r"einatm\w*", r"inadem\w*", r"inndanding\w*", r"inandning\w*",
    r"wdech\w*", r"nadech\w*", r"belegz\w*", r"вдох\w*", r"εισπνο\w*",
)  # fmt: skip
_INSPIRATORY_CJK = _anywhere("吸气", "吸氣", "吸気", "흡기")
_PRONE = _words(
    r"prone", r"pron[oa]?", r"bauchlage", r"procubit\w*", r"decubit\w* (?:prono?|ventral)", r"(?:en )?ventral",
    r"buikligging", r"mage(?:leie|lage|lage)", r"yuz ?ustu", r"na brzuchu",
)  # fmt: skip
_PRONE_CJK = _anywhere("俯卧", "俯臥", "腹臥", "腹卧", "엎드")
_CONTRAST = _words(
    r"ctpa", r"cta", r"angio\w*", r"ce", r"enhanced", r"arterial", r"art", r"portal ?venous", r"pulm\w* embol\w*",
    r"(?:post|with|mit|nach|con|avec|com|met|iv)[ -]?(?:iv[ -]?)?(?:contrast\w*|km|inj\w*|mdc)",
)  # fmt: skip
_CONTRAST_SIGNS = _anywhere(r"(?<!\w)\+ ?(?:c|km|ci)(?!\w)", r"(?<!\w)(?:c|km) ?\+", "增强", "増強", "造影", "조영")
_NO_CONTRAST = _anywhere(
    r"(?<![^\W\d_])(?:non?|without|w/?o|ohne|sans|sin|senza|sem|zonder|uten|utan|bez)[ -]?(?:iv[ -]?)?"
    r"(?:contrast\w*|km|inj\w*|mdc|ce|enhanc\w*)",
    r"unenhanced", r"(?<![^\W\d_])nativ\w*", r"(?<!\w)- ?(?:c|km)(?!\w)", r"(?<!\w)(?:c|km) ?-(?!\w)",
    "平扫", "非造影", "単純", "비조영",
)  # fmt: skip
_AGENT_IS_NONE = re.compile(
    r"^(no|none|n/?a|0|-|without|nativ\w*|non.?contrast|ohne|sin|sans|senza|nein|non|nessuno)\b"
)

LOCALIZER = _words(
    r"scout", r"topogram\w*", r"surview", r"scanogram\w*", r"scano", r"locali[sz]er", r"pilot", r"scoutview",
    r"dual ?scano", r"radiographe?", r"定位像?",
)  # fmt: skip
# Never ``dose`` alone: low dose is how lungs are screened.
DOSE = _words(
    r"dose[ -]?(?:info\w*|reports?|record|summary|sheet)", r"dosis[ -]?(?:bericht\w*|protokoll\w*|info\w*)",
    r"patient protocol", r"patientenprotokoll", r"exam summary", r"screen ?save", r"rapport de dose",
    r"informe de dosis", r"protocole patient",
)  # fmt: skip
PLANES = _words(
    r"mpr", r"mpvr", r"coronal\w*", r"sagittal\w*", r"cor", r"sag", r"reformat\w*", r"koronar\w*", r"frontal"
)
PROJECTIONS = _words(r"mip", r"minip", r"min ?ip", r"vrt?", r"3d", r"ssd", r"volume rendering", r"cinematic")
MIP = _words(r"mip", r"minip", r"min ?ip")
# Values that are no HU, and HU that a dual-energy or photon-counting scan was computed into. Iodine alone is a contrast
# agent.
NOT_HU_MAPS = _words(
    r"iodine[ -]?(?:map\w*|density|no[ -]water|overlay\w*|conc\w*|\(?(?:water|calcium)\)?)", r"md[ -]iodine",
    r"[ij]od[ -]?(?:karte\w*|map\w*|overlay\w*|dichte\w*|konz\w*|bild\w*)",
    r"(?:carte|mapa|mappa) (?:d'|de |di )?(?:iod[eio]o?|yodo)", r"z[ -]?eff\w*", r"eff\w*[ -]?z",
    r"electron density", r"pbv", r"perfused blood volume", r"lung ?pbv", r"material density",
    r"water \(?(?:iodine|calcium)\)?",
    r"uric acid", r"gout", r"ventilation map", r"xenon", r"cbf", r"cbv", r"mtt", r"tmax", r"ttp",
    r"fat fraction", r"calcium map",
)  # fmt: skip
COMPUTED_HU = _words(
    r"vmi\w*", r"mono\w*", r"\d+ ?kev", r"vnc", r"vue", r"virtual non[ -]?contrast", r"virtual unenhanced",
    r"ca\w* ?supp\w*",
)  # fmt: skip
CHEST = re.compile(
    r"chest|thora|thor|lung|lunge|pulmo|poumon|polmon|torace|torax|hrct|płuc|pluc|胸|肺|흉|легк|грудн|θωρακ"
)
# Parts of the body that a study of the chest may show in a series of their own.
_OTHER_REGION = _words(
    r"abd", r"abdom\w*", r"addom\w*", r"bauch", r"becken\w*", r"pelvi\w*", r"bassin", r"bacino", r"buik\w*",
    r"bekken", r"brzuch\w*", r"neck", r"hals", r"cervical\w*", r"cuello", r"collo", r"liver", r"leber", r"foie",
    r"higado", r"fegato", r"kidneys?", r"renal\w*", r"nieren?", r"pancrea\w*", r"colon\w*", r"uro\w*", r"head",
    r"brain", r"kopf", r"schadel", r"skull", r"cabeza", r"crani?[eo]\w*", r"spine", r"[ctl]spine", r"wirbels\w*",
    r"[hlb]ws", r"lumbar\w*", r"sinus\w*", r"hip", r"knee", r"живот\w*", r"брюш\w*", r"κοιλι\w*",
)  # fmt: skip
_OTHER_REGION_CJK = _anywhere("腹", "骨盆", "骨盤", "颈", "頸", "頚", "头", "頭", "복부", "골반")


@lru_cache(maxsize=4096)
def plain(text: str) -> str:
    """Lower case, without accents: ``Espiración`` and ``ESPIRACION`` are one word."""
    split = unicodedata.normalize("NFKD", text.replace("_", " ").casefold())
    return unicodedata.normalize("NFKC", "".join(sign for sign in split if not unicodedata.combining(sign)))


def words_of(shared: SharedFacts) -> str:
    """The descriptions people typed, plain, in one text for word searches."""
    return plain(f"{shared.series_description} {shared.protocol}")


def names_other_region(shared: SharedFacts) -> bool:
    """Another part of the body is named and the chest is not; the series' own words outweigh those of the protocol."""
    for text in (plain(shared.series_description), plain(f"{shared.body_part} {shared.protocol}")):
        if CHEST.search(text):
            return False
        if _OTHER_REGION.search(text) or _OTHER_REGION_CJK.search(text):
            return True
    return False


def phase_of(shared: SharedFacts) -> str | None:
    """``expiration``, ``inspiration`` or None, as far as descriptions say; the series' own outweighs the protocol's."""
    for text in (plain(shared.series_description), plain(shared.protocol)):
        says_expiratory = bool(_EXPIRATORY.search(text) or _EXPIRATORY_CJK.search(text))
        says_inspiratory = bool(_INSPIRATORY.search(text) or _INSPIRATORY_CJK.search(text))
        if says_expiratory and says_inspiratory:
            continue  # a protocol of both phases says nothing of this one
        if says_expiratory or says_inspiratory:
            return "expiration" if says_expiratory else "inspiration"
    return None


def lying(shared: SharedFacts) -> str:
    """``prone`` or ``on the side`` by patient position, or by description; empty for supine and unknown."""
    if shared.patient_position.endswith(("DR", "DL")):
        return "on the side"
    text = plain(shared.series_description)
    return "prone" if shared.patient_position.endswith("P") or _PRONE.search(text) or _PRONE_CJK.search(text) else ""


def has_contrast(shared: SharedFacts) -> bool:
    """A contrast agent is named; where the header is silent, by description."""
    agent = plain(shared.contrast_agent).strip()
    if agent:
        return not _AGENT_IS_NONE.search(agent)
    text = words_of(shared)
    return not _NO_CONTRAST.search(text) and bool(_CONTRAST.search(text) or _CONTRAST_SIGNS.search(text))
