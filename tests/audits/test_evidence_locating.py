"""Where a quote is found, what is said of it then, and what is refused."""

from random import Random

import pytest
from bench.forgeries import TAMPERS, Tamper, forgery
from bench.spoken import Fiche, fiche, noised, true_quote
from hypothesis import example, given
from hypothesis import strategies as st

from conforme.audits.alignment import Tolerance
from conforme.audits.evidence import MIN_QUOTE_CHARS, locate
from conforme.audits.passages import TranscriptIndex
from conforme.audits.timeline import Call, Timeline, build
from conforme.audits.verdicts import Citation, CitationClaim, DroppedCitation, DropReason
from conforme.transcriptions.words import Word

FIRST = (
    ("speaker_0", "Bonjour madame, je suis Marc Dupont du cabinet Horizon, courtier immatriculé à l'ORIAS."),
    ("speaker_1", "Oui bonjour euh je vous écoute."),
    (
        "speaker_0",
        "Vous n'avez pas souhaité résilier votre contrat, le tarif est de quarante et un euros dix.",
    ),
    ("speaker_1", "D'accord, et c'est sans engagement ?"),
    (
        "speaker_0",
        "Non. Vous êtes remboursé à cent pour cent pour les soins dentaires. Vous n'avez pas de carence.",
    ),
    ("speaker_1", "Et j'ai quatorze jours pour renoncer après la réception du contrat ?"),
)
SECOND = (
    ("speaker_0", "Rebonjour, vous acceptez que l'appel soit enregistré ?"),
    ("speaker_1", "Oui, j'accepte."),
    ("speaker_0", "Je vous rappelle donc au sujet de votre contrat."),
)

DEMAIN = ("je", "vous", "rappelle", "demain")


def words(*turns: tuple[str, str], timed: bool = True) -> tuple[Word, ...]:
    """Half a second per word."""
    said = [(speaker, text) for speaker, line in turns for text in line.split()]
    return tuple(
        Word(text, at / 2 if timed else None, (at + 1) / 2 if timed else None, speaker)
        for at, (speaker, text) in enumerate(said)
    )


def timeline() -> Timeline:
    first = Call("a", words(*FIRST), recording_url="https://example.test/a.mp3", recording_date="05/01/2026")
    return build([first, Call("b", words(*SECOND))])


@pytest.fixture(scope="module")
def index() -> TranscriptIndex:
    return TranscriptIndex(timeline())


def claim(texte: str, enregistrement: int = 1, tour: int = 1) -> CitationClaim:
    return CitationClaim(texte=texte, enregistrement=enregistrement, tour=tour)


def found(texte: str, index: TranscriptIndex, enregistrement: int = 1, tour: int = 1) -> Citation:
    result = locate(claim(texte, enregistrement, tour), index)
    assert isinstance(result, Citation), result
    return result


def refused(texte: str, index: TranscriptIndex) -> DropReason:
    result = locate(claim(texte), index)
    assert isinstance(result, DroppedCitation), result
    return result.reason


# What is found


def test_place_time_and_speaker_come_from_the_words(index: TranscriptIndex) -> None:
    citation = found("resilier votre CONTRAT", index, tour=3)
    assert citation.texte == "résilier votre contrat,"
    assert citation.claimed == "resilier votre CONTRAT"
    assert (citation.recording_index, citation.chunk_index, citation.first_turn, citation.last_turn) == (
        0,
        0,
        2,
        2,
    )
    assert (citation.first_word, citation.last_word) == (23, 25)
    assert (citation.start_ms, citation.end_ms, citation.minutage) == (11_500, 13_000, "00:11")
    assert (citation.speaker, citation.match, citation.relocated) == ("speaker_0", "exact", False)
    assert citation.recording_url == "https://example.test/a.mp3"
    assert (citation.recording_date, citation.recording_time) == ("05/01/2026", "N/A")


def test_a_quote_is_found_wherever_it_is_when_the_place_is_wrong(index: TranscriptIndex) -> None:
    citation = found("vous acceptez que l'appel soit enregistré", index, enregistrement=1, tour=5)
    assert (citation.recording_index, citation.first_turn, citation.relocated) == (1, 0, True)


@pytest.mark.parametrize(("enregistrement", "tour"), [(0, 0), (9, 1), (1, 99), (-3, -1), (2, 10**6)])
def test_a_place_that_does_not_exist_is_no_obstacle(
    index: TranscriptIndex, enregistrement: int, tour: int
) -> None:
    assert found("je vous écoute", index, enregistrement, tour).first_turn == 1


def test_of_several_places_the_one_nearest_to_the_cited_turn_is_taken() -> None:
    same = tuple(
        (f"speaker_{turn % 2}", f"Phrase {'abcdefghij'[turn]} puis je vous rappelle demain")
        for turn in range(10)
    )
    index = TranscriptIndex(build([Call("a", words(*same)), Call("b", words(*same))]))
    for enregistrement in (1, 2):
        for tour in range(1, 11):
            citation = found("je vous rappelle demain", index, enregistrement, tour)
            assert (citation.recording_index + 1, citation.first_turn + 1) == (enregistrement, tour)
            assert not citation.relocated


def test_a_quote_may_cross_turns_and_chunks() -> None:
    turns = tuple((f"speaker_{turn % 2}", f"voici la phrase {turn + 10}") for turn in range(25))
    index = TranscriptIndex(build([Call("a", words(*turns))]))
    citation = found("la phrase 19 voici la phrase 20 voici la phrase 21", index)
    assert (citation.first_turn, citation.last_turn, citation.chunk_index) == (9, 11, 0)


@pytest.mark.parametrize(
    "texte",
    [
        "je vous écoute euh bonjour",
        "courtier en assurances immatriculé à l'ORIAS",
        "Marc Dupont est remboursé à cent pour cent",
    ],
)
def test_words_that_were_not_said_so_are_refused(index: TranscriptIndex, texte: str) -> None:
    assert isinstance(locate(claim(texte), index), DroppedCitation)


@pytest.mark.parametrize(
    ("texte", "heard"),
    [
        ("courtier immatriculé à Lorias", "courtier immatriculé à l'ORIAS."),
        ("vous avez pas souhaité", None),
        (
            "vous n'avez pas souhaiter résilié votre contras",
            "Vous n'avez pas souhaité résilier votre contrat,",
        ),
        ("oui bonjour je vous écoute", "Oui bonjour euh je vous écoute."),
        ("Vous êtes donc remboursé à 100 %", "Vous êtes remboursé à cent pour cent"),
        ("les soins den taires", "les soins dentaires."),
        ("le tarif est de 41,10 €", "le tarif est de quarante et un euros dix."),
        ("et j'ai 14 jours pour renoncé", "Et j'ai quatorze jours pour renoncer"),
        ("et c'est sans engagement", "et c'est sans engagement"),
        ("le tarif est de 41 euros et 10 centimes", "le tarif est de quarante et un euros dix."),
    ],
)
def test_noise_is_tolerated_and_meaning_is_not(index: TranscriptIndex, texte: str, heard: str | None) -> None:
    result = locate(claim(texte), index)
    assert (result.texte if isinstance(result, Citation) else None) == heard


@pytest.mark.parametrize(
    ("texte", "reason"),
    [
        ("vous avez souhaité résilier votre contrat", DropReason.NEGATION),
        ("vous n'avez souhaité résilier votre contrat", DropReason.NEGATION),
        ("vous n'avez jamais souhaité résilier votre contrat", DropReason.NEGATION),
        ("vous êtes pas remboursé à cent pour cent", DropReason.NEGATION),
        ("le tarif est de quarante et un euros vingt", DropReason.NUMBER),
        ("le tarif est de 41 euros", DropReason.NUMBER),
        ("vous êtes remboursé à 50 % pour les soins dentaires", DropReason.NUMBER),
        ("j'ai quinze jours pour renoncer après la réception", DropReason.NUMBER),
        ("nous êtes remboursé à cent pour cent pour les soins dentaires", DropReason.WORDS),
        ("vous êtes gratuitement remboursé à cent pour cent", DropReason.WORDS),
        ("je suis Marc Durand du cabinet Horizon, courtier", DropReason.WORDS),
        ("le contrat est gratuit pendant six mois", DropReason.NOT_FOUND),
        ("speaker_0: speaker_1: oui", DropReason.TOO_SHORT),
        ("[1.3] speaker_0 00:11 | non", DropReason.TOO_SHORT),
        ("oui", DropReason.TOO_SHORT),
        ("", DropReason.TOO_SHORT),
        ("… … …", DropReason.TOO_SHORT),
    ],
)
def test_a_quote_is_refused_with_its_reason(index: TranscriptIndex, texte: str, reason: DropReason) -> None:
    assert refused(texte, index) is reason


def test_one_contract_is_a_contract() -> None:
    index = TranscriptIndex(build([Call("a", words(("s", "vous signez un contrat pour une année entière")))]))
    assert found("vous signez 1 contrat pour 1 année", index).match == "exact"
    assert refused("vous signez 2 contrats pour une année entière", index) is DropReason.NUMBER


def test_what_frames_a_line_of_the_prompt_is_not_part_of_the_quote(index: TranscriptIndex) -> None:
    copied = "[1.2] speaker_1 00:07 | Oui bonjour euh je vous écoute."
    assert found(copied, index).texte == "Oui bonjour euh je vous écoute."
    assert found("Client : Oui bonjour euh je vous écoute.", index).match == "exact"


def test_a_speaker_label_is_not_evidence(index: TranscriptIndex) -> None:
    assert refused("speaker_1 speaker_0 speaker_1", index) is DropReason.NOT_FOUND


# Ellipses


def test_an_ellipsis_is_filled_with_what_was_said_there(index: TranscriptIndex) -> None:
    citation = found("Bonjour madame, je suis […] courtier immatriculé à l'ORIAS", index)
    assert citation.texte == FIRST[0][1]
    assert citation.match == "exact"


def test_an_ellipsis_may_pass_over_a_whole_sentence_even_a_negative_one() -> None:
    index = TranscriptIndex(
        build(
            [
                Call(
                    "a",
                    words(
                        (
                            "s",
                            "Je vous propose la formule Confort. Ce n'est pas cher. Elle couvre le dentaire.",
                        )
                    ),
                )
            ]
        )
    )
    assert found("Je vous propose la formule Confort … Elle couvre le dentaire", index).match == "exact"


@pytest.mark.parametrize("dots", ["…", "...", "[...]", "(…)", "[…]"])
def test_an_ellipsis_hides_no_negation_of_the_sentence_it_shortens(index: TranscriptIndex, dots: str) -> None:
    assert refused(f"vous n'avez {dots} souhaité résilier votre contrat", index) is DropReason.NEGATION


def test_an_ellipsis_hides_no_negation_when_nothing_tells_sentences_apart() -> None:
    index = TranscriptIndex(
        build([Call("a", words(("s", "vous serez alors dans ce cas là pas remboursé du tout")))])
    )
    assert refused("vous serez alors … remboursé du tout", index) is DropReason.NEGATION


def test_the_pieces_of_a_quote_must_stand_close_to_each_other() -> None:
    far = Tolerance().longest_gap + 1
    filler = " ".join(f"mot{'abcdefghijklmnopqrstuvwxyz'[at % 26]}{'x' * (at // 26)}" for at in range(far))
    index = TranscriptIndex(
        build([Call("a", words(("s", f"ceci est le début {filler} voilà enfin la fin")))])
    )
    assert isinstance(locate(claim("ceci est le début … voilà enfin la fin"), index), DroppedCitation)


def test_single_words_picked_here_and_there_are_no_quote(index: TranscriptIndex) -> None:
    assert isinstance(locate(claim("madame … ORIAS … écoute … contrat"), index), DroppedCitation)


# What is said of it


def test_a_quote_cut_beside_a_negation_says_so(index: TranscriptIndex) -> None:
    assert found("engagement ? Non. Vous êtes remboursé", index).beside_negation
    assert not found("je vous écoute.", index).beside_negation


def test_an_untimed_transcript_gives_untimed_citations() -> None:
    index = TranscriptIndex(build([Call("a", words(*FIRST, timed=False))]))
    citation = found("courtier immatriculé à l'ORIAS", index)
    assert (citation.minutage, citation.minutage_secondes, citation.start_ms, citation.end_ms) == (
        "N/A",
        None,
        None,
        None,
    )


def test_the_time_of_a_turn_stands_for_words_that_have_none() -> None:
    timed = words(*FIRST)
    only_first = tuple(
        word
        if at == 0 or timed[at - 1].speaker != word.speaker
        else Word(word.text, None, None, word.speaker)
        for at, word in enumerate(timed)
    )
    citation = found("résilier votre contrat", TranscriptIndex(build([Call("a", only_first)])))
    assert citation.minutage_secondes == 9.5


def test_an_unnamed_speaker_is_unknown() -> None:
    index = TranscriptIndex(
        build([Call("a", tuple(Word(t, None, None, None) for t in ["je", "vous", "rappelle", "demain"]))])
    )
    assert found("je vous rappelle demain", index).speaker == "unknown"


def test_minutes_go_beyond_an_hour() -> None:
    late = tuple(Word(text, 4_000.5, 4_001.0, "s") for text in DEMAIN)
    assert found("je vous rappelle demain", TranscriptIndex(build([Call("a", late)]))).minutage == "66:40"


def test_nothing_is_found_in_silence() -> None:
    index = TranscriptIndex(build([Call("a", ())]))
    assert refused("je vous rappelle demain", index) is DropReason.NOT_FOUND


def test_the_least_length_is_a_setting(index: TranscriptIndex) -> None:
    assert isinstance(locate(claim("j'accepte"), index, min_chars=5), Citation)
    assert isinstance(locate(claim("j'accepte"), index, min_chars=MIN_QUOTE_CHARS), DroppedCitation)


# The promise


@pytest.fixture(scope="module")
def calls() -> list[tuple[Fiche, TranscriptIndex]]:
    made = [fiche(Random(seed), calls=2, words=500) for seed in range(6)]  # noqa: S311 -- a seed names the case
    return [(each, TranscriptIndex(each.timeline)) for each in made]


seeds = st.integers(0, 2**32)


@given(seed=seeds)
@example(
    seed=272161
)  # ends with a colon that stands alone, as a question mark may: no word, hence not quoted
def test_a_true_quote_is_found_word_for_word(calls: list[tuple[Fiche, TranscriptIndex]], seed: int) -> None:
    dice = Random(seed)  # noqa: S311 -- a seed names the case
    material, index = dice.choice(calls)
    quoted = true_quote(material, dice)
    citation = locate(quoted.claim(), index)
    assert isinstance(citation, Citation)
    assert (citation.match, citation.texte.rstrip(" ?:")) == ("exact", " ".join(quoted.words).rstrip(" ?:"))


def test_99_of_100_true_quotes_are_found_in_noise_at_a_wrong_place(
    calls: list[tuple[Fiche, TranscriptIndex]],
) -> None:
    dice = Random(11)  # noqa: S311 -- a seed names the case
    results: list[Citation | DroppedCitation] = []
    for _ in range(600):
        material, index = dice.choice(calls)
        text = " ".join(noised(true_quote(material, dice).words, 0.1, dice))
        results.append(locate(claim(text, dice.randrange(4), dice.randrange(200)), index))
    assert sum(isinstance(result, Citation) for result in results) >= 594


@pytest.mark.parametrize("tamper", TAMPERS, ids=lambda tamper: tamper.__name__)
@given(seed=seeds)
def test_no_forged_quote_is_kept(
    calls: list[tuple[Fiche, TranscriptIndex]], tamper: Tamper, seed: int
) -> None:
    dice = Random(seed)  # noqa: S311 -- a seed names the case
    material, index = dice.choice(calls)
    forged = forgery(material, tamper, dice)
    if forged is not None:
        result = locate(forged, index)
        assert isinstance(result, DroppedCitation), (forged.texte, result.texte)


@given(
    texte=st.text(max_size=200)
    | st.lists(st.sampled_from([*FIRST[0][1].split(), "…", "pas", "14"])).map(" ".join)
)
def test_whatever_is_claimed_only_words_of_the_call_come_back(index: TranscriptIndex, texte: str) -> None:
    result = locate(claim(texte), index)
    if isinstance(result, Citation):
        spoken = index.heard[result.recording_index].recording.words[result.first_word : result.last_word + 1]
        assert result.texte == " ".join(word.text for word in spoken)
    else:
        assert result.texte == claim(texte).texte


@given(heard=st.lists(st.text(min_size=1, max_size=8), max_size=40), texte=st.text(max_size=80))
def test_whatever_is_heard_nothing_raises(heard: list[str], texte: str) -> None:
    index = TranscriptIndex(build([Call("a", tuple(Word(text, None, None, None) for text in heard))]))
    locate(claim(texte), index, min_chars=1)
    locate(claim(" ".join(heard)), index, min_chars=1)


def test_a_monstrous_quote_costs_a_bounded_number_of_comparisons() -> None:
    index = TranscriptIndex(build([Call("a", tuple(Word("oui", None, None, "s") for _ in range(3_000)))]))
    assert isinstance(locate(claim("oui " * 2_500), index), Citation)
    assert isinstance(locate(claim("oui … " * 1_500), index), Citation)
    assert isinstance(locate(claim("oui non " * 1_200), index), DroppedCitation)
