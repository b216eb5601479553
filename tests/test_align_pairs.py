from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tiny_models import tiny_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from align.conversation import Conversation, Message, Text
from align.detokenizer import spelled
from align.errors import UnfitPair
from align.examples import Example
from align.pairs import Answer, inserted_ranges, make_pair, token_ranges
from align.spans import Span, apply_spans, diff_spans

END = 2


def metaspace_tokenizer() -> PreTrainedTokenizerFast:
    """As SentencePiece writes: a word begins with ▁, unknown characters fall back to bytes."""
    special = ["<pad>", "<s>", "</s>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1),
        ]
    )
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(["a red ball lies on the green table next to two cups."] * 2, trainer)
    plain = json.loads(tokenizer.to_str())
    plain["added_tokens"] = plain["added_tokens"][:4]  # bytes are text, not control tokens
    tokenizer = Tokenizer.from_str(json.dumps(plain))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>")


TOKENIZER = tiny_tokenizer()
METASPACE = metaspace_tokenizer()
PIECES = (
    "a",
    "b",
    "c",
    "d",
    "er",
    "the ",
    " cup",
    " ",
    "\n",
    ".",
    "é",
    "e\u0301",
    "猫",
    "语",
    "🙂",
    "👩\u200d🚀",
    "\u0301",
)
TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=15).map("".join)


@st.composite
def served_and_spans(draw: st.DrawFn) -> tuple[str, list[Span]]:
    """A text and up to three spans of it: replacements, pure deletions and pure insertions."""
    served = draw(TEXTS)
    cuts = sorted(draw(st.lists(st.integers(0, len(served)), min_size=2, max_size=6)))
    spans = [
        Span(start, end, draw(st.just("") | TEXTS)) for start, end in zip(cuts[::2], cuts[1::2], strict=False)
    ]
    changing = {(s.start, s.end): s for s in spans if served[s.start : s.end] != s.replacement}
    return served, sorted(changing.values(), key=lambda span: (span.start, span.end))


def corrected_example(
    served: str, *spans: Span, tokenizer: Any = TOKENIZER, token_ids: tuple[int, ...] | None = None
) -> Example:
    ids = token_ids or (*tokenizer.encode(served, add_special_tokens=False), END)
    return Example(
        id="c1",
        conversation=Conversation((Message("user", (Text("What is there?"),)),)),
        images={},
        served_text=served,
        served_token_ids=ids,
        corrected_text=apply_spans(served, spans),
        spans=spans,
    )


def corrected_text(answer: Answer, tokenizer: Any = TOKENIZER) -> str:
    """What the tokens marked as corrected spell together."""
    ids = [token for token, flag in zip(answer.token_ids, answer.is_corrected, strict=True) if flag]
    return str(tokenizer.decode(ids))


def test_both_sides_share_their_tokens_up_to_the_first_edit() -> None:
    pair = make_pair(corrected_example("Two red cups stand.", Span(4, 7, "green")), TOKENIZER, [END])
    two = len(TOKENIZER.encode("Two", add_special_tokens=False))
    assert pair.chosen.token_ids[:two] == pair.rejected.token_ids[:two]
    assert TOKENIZER.decode(pair.chosen.token_ids, skip_special_tokens=True) == "Two green cups stand."
    assert corrected_text(pair.rejected) == " red"
    assert corrected_text(pair.chosen) == " green"


def test_the_rejected_side_is_what_was_sampled_and_never_a_new_tokenisation() -> None:
    letters = [TOKENIZER.encode(letter, add_special_tokens=False)[0] for letter in "dog is"]
    example = corrected_example("dog is", Span(4, 6, "was"), token_ids=(*letters, END))
    pair = make_pair(example, TOKENIZER, [END])
    assert pair.rejected.token_ids == (*letters, END)
    assert pair.chosen.token_ids[:3] == tuple(letters[:3])


def test_a_character_of_several_tokens_is_corrected_as_a_whole() -> None:
    example = corrected_example("a 🙂 b", Span(2, 3, "é"))
    assert len(example.served_token_ids) > 5, "the emoji should take several tokens"
    pair = make_pair(example, TOKENIZER, [END])
    assert "🙂" in corrected_text(pair.rejected)
    assert "é" in corrected_text(pair.chosen)


def test_a_deletion_weighs_on_the_rejected_side_only() -> None:
    pair = make_pair(corrected_example("a dog, and a cat", Span(5, 16, "")), TOKENIZER, [END])
    assert any(pair.rejected.is_corrected)
    assert not any(pair.chosen.is_corrected)


def test_an_insertion_weighs_on_the_chosen_side_only() -> None:
    pair = make_pair(corrected_example("a cat", Span(5, 5, " on a mat")), TOKENIZER, [END])
    assert corrected_text(pair.chosen) == " on a mat"
    assert not any(pair.rejected.is_corrected)


def test_a_word_that_grows_is_tokenised_as_one_word() -> None:
    example = corrected_example("the cup stands", Span(7, 7, "s"))
    pair = make_pair(example, TOKENIZER, [END])
    assert pair.chosen.token_ids[:-1] == tuple(TOKENIZER.encode("the cups stands", add_special_tokens=False))


@pytest.mark.parametrize("end", [(), (END,), (20,)])
def test_the_chosen_answer_ends_as_the_served_one_did(end: tuple[int, ...]) -> None:
    ids = (*TOKENIZER.encode("a dog", add_special_tokens=False), *end)
    pair = make_pair(corrected_example("a dog", Span(2, 5, "cat"), token_ids=ids), TOKENIZER, [END, 20])
    body = tuple(TOKENIZER.encode("a cat", add_special_tokens=False))
    assert pair.chosen.token_ids == (*body, *end)
    assert pair.chosen.is_corrected[len(body) :] == (False,) * len(end)


@pytest.mark.parametrize("tokenizer", [TOKENIZER, METASPACE])
def test_an_answer_cut_inside_a_character_keeps_its_tokens(tokenizer: Any) -> None:
    cut = tuple(tokenizer.encode("a dog 猫🙂", add_special_tokens=False)[:-1])
    served = spelled(cut, tokenizer)
    assert served.startswith("a dog 猫\ufffd")
    example = corrected_example(served, Span(2, 5, "cat"), tokenizer=tokenizer, token_ids=cut)
    pair = make_pair(example, tokenizer, [END])
    assert pair.rejected.token_ids == cut
    assert spelled(pair.chosen.token_ids, tokenizer) == served.replace("dog", "cat")


def test_what_a_stop_string_cut_off_was_not_served_and_the_answer_has_no_end() -> None:
    ids = tuple(TOKENIZER.encode("a dog\nUser", add_special_tokens=False))
    pair = make_pair(corrected_example("a dog", Span(2, 5, "cat"), token_ids=ids), TOKENIZER, [END])
    assert TOKENIZER.decode(pair.rejected.token_ids) == "a dog"
    assert TOKENIZER.decode(pair.chosen.token_ids) == "a cat"
    assert pair.rejected.token_ids == ids[: len(pair.rejected.token_ids)]


def test_a_token_that_a_stop_string_cut_in_two_is_written_anew() -> None:
    ids = tuple(TOKENIZER.encode("a cat on the table", add_special_tokens=False))
    table = next(i for i in range(len(ids)) if "table".startswith(TOKENIZER.decode(ids[i:]).strip()[:5]))
    served = TOKENIZER.decode(ids[:table]) + TOKENIZER.decode(ids[table:])[:2]
    pair = make_pair(corrected_example(served, Span(2, 5, "dog"), token_ids=ids), TOKENIZER, [END])
    assert TOKENIZER.decode(pair.rejected.token_ids) == served
    assert pair.rejected.token_ids[:table] == ids[:table]


@given(
    st.text(st.sampled_from("abredlt "), min_size=4, max_size=20).map(str.strip).filter(bool),
    st.integers(1, 3),
)
def test_a_sentencepiece_tokenizer_writes_the_rest_of_a_word_anew(served: str, num_cut: int) -> None:
    ids = tuple(METASPACE.encode(served, add_special_tokens=False))
    text = served[:-num_cut].rstrip()
    if not text or text + " ball" == served:
        return
    example = corrected_example(text, Span(len(text), len(text), " ball"), tokenizer=METASPACE, token_ids=ids)
    pair = make_pair(example, METASPACE, [END])
    assert METASPACE.decode(pair.rejected.token_ids) == text
    assert METASPACE.decode(pair.chosen.token_ids) == text + " ball"


def test_an_answer_that_a_stop_string_emptied_is_no_pair() -> None:
    ids = tuple(TOKENIZER.encode("###", add_special_tokens=False))
    with pytest.raises(UnfitPair, match="without a word"):
        make_pair(corrected_example("", Span(0, 0, "a cat"), token_ids=ids), TOKENIZER, [END])


@given(TEXTS, TEXTS, TEXTS)
def test_whatever_a_stop_string_cut_off_both_texts_come_back(served: str, rest: str, corrected: str) -> None:
    if served == corrected or "\ufffd" in served:
        return
    ids = tuple(TOKENIZER.encode(served + rest, add_special_tokens=False))
    spans = diff_spans(served, corrected)
    pair = make_pair(corrected_example(served, *spans, token_ids=ids), TOKENIZER, [END])
    assert TOKENIZER.decode(pair.rejected.token_ids) == served
    assert TOKENIZER.decode(pair.chosen.token_ids) == corrected


@given(TEXTS, TEXTS)
@example("🙂.", "🙂a.")
@example("🙂a.", "🙂.")
def test_any_correction_gives_its_two_texts_back(served: str, corrected: str) -> None:
    spans = diff_spans(served, corrected)
    if not spans:
        return
    pair = make_pair(corrected_example(served, *spans), TOKENIZER, [END])
    assert TOKENIZER.decode(pair.chosen.token_ids, skip_special_tokens=True) == corrected
    assert TOKENIZER.decode(pair.rejected.token_ids, skip_special_tokens=True) == served
    assert any(pair.chosen.is_corrected) == is_changed(pair.chosen, inserted_ranges(spans))
    assert any(pair.rejected.is_corrected) == is_changed(pair.rejected, [(s.start, s.end) for s in spans])


@given(served_and_spans(), st.sampled_from([TOKENIZER, METASPACE]))
def test_text_spans_and_tokens_turn_into_each_other_without_loss(
    case: tuple[str, list[Span]], tokenizer: Any
) -> None:
    served, spans = case
    corrected = apply_spans(served, spans)
    if corrected in ("", served) or not is_spelled(served, tokenizer) or not is_spelled(corrected, tokenizer):
        return
    pair = make_pair(corrected_example(served, *spans, tokenizer=tokenizer), tokenizer, [END])
    sides = (
        (pair.rejected, served, [(s.start, s.end) for s in spans]),
        (pair.chosen, corrected, inserted_ranges(spans)),
    )
    for answer, text, edits in sides:
        body = answer.token_ids[:-1]
        ranges = token_ranges(body, text, tokenizer)
        assert {point for start, end in ranges for point in range(start, end)} == set(range(len(text)))
        for (start, end), flag in zip(ranges, answer.is_corrected[:-1], strict=True):
            assert flag == any(start < e_end and e_start < end for e_start, e_end in edits)
    if is_boundary(served, corrected, spans[0].start, tokenizer):
        ends = [end for _, end in token_ranges(pair.rejected.token_ids[:-1], served, tokenizer)]
        num_before = sum(end <= spans[0].start for end in ends)
        assert pair.chosen.token_ids[:num_before] == pair.rejected.token_ids[:num_before]


def is_spelled(text: str, tokenizer: Any) -> bool:
    """Whether the tokenizer gives the text back: one like SentencePiece drops a space at the start."""
    return bool(tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text)


def is_boundary(served: str, corrected: str, at: int, tokenizer: Any) -> bool:
    """Whether both texts, tokenised alone, have a border between tokens at this place."""
    return all(
        at
        in {end for _, end in token_ranges(tokenizer.encode(text, add_special_tokens=False), text, tokenizer)}
        | {0}
        for text in (served, corrected)
    )


def is_changed(answer: Answer, edits: list[tuple[int, int]]) -> bool:
    """Whether words of this side were edited, or a token of it stands on both sides of the other side's edit."""
    body = answer.token_ids[:-1]
    ranges = token_ranges(body, TOKENIZER.decode(body), TOKENIZER)
    cuts = [start for start, end in edits if start == end]
    return len(cuts) < len(edits) or any(start < cut < end for cut in cuts for start, end in ranges)


@given(st.lists(st.integers(7, 300), min_size=1, max_size=20))
def test_every_sampled_sequence_has_ranges_that_follow_one_another(token_ids: list[int]) -> None:
    text = TOKENIZER.decode(token_ids)
    ranges = token_ranges(token_ids, text, TOKENIZER)
    assert len(ranges) == len(token_ids)
    assert {point for start, end in ranges for point in range(start, end)} == set(range(len(text)))
    assert ranges == sorted(ranges)


@given(st.text(st.sampled_from("abredlt é猫"), min_size=1, max_size=20).map(str.strip).filter(bool))
def test_a_sentencepiece_tokenizer_is_read_as_well(served: str) -> None:
    example = corrected_example(served, Span(len(served), len(served), " ball"), tokenizer=METASPACE)
    pair = make_pair(example, METASPACE, [END])
    assert METASPACE.decode(pair.chosen.token_ids, skip_special_tokens=True) == served + " ball"
    assert corrected_text(pair.chosen, METASPACE).endswith("ball")


def test_replacements_are_found_in_the_corrected_text() -> None:
    spans = [Span(0, 1, "one"), Span(2, 5, ""), Span(6, 6, "x")]
    corrected = apply_spans("a red ball", spans)
    assert [corrected[start:end] for start, end in inserted_ranges(spans)] == ["one", "", "x"]


def test_an_answer_without_a_correction_is_no_pair() -> None:
    with pytest.raises(UnfitPair, match="changes nothing"):
        make_pair(corrected_example("a dog"), TOKENIZER, [END])


def test_an_emptied_answer_is_no_pair() -> None:
    with pytest.raises(UnfitPair, match="leaves no words"):
        make_pair(corrected_example("a dog", Span(0, 5, "")), TOKENIZER, [END])


def test_tokens_that_spell_another_text_are_refused_without_a_word_of_either() -> None:
    ids = (*TOKENIZER.encode("a dog barks", add_special_tokens=False), END)
    with pytest.raises(
        UnfitPair, match="spell 11 code points and its text has 5; they differ from number 2 on"
    ) as no:
        make_pair(corrected_example("a cat", Span(2, 5, "cow"), token_ids=ids), TOKENIZER, [END])
    assert not any(word in str(no.value) for word in ("dog", "cat", "cow"))


def test_a_correction_that_writes_a_control_token_is_refused() -> None:
    with pytest.raises(UnfitPair, match="special"):
        make_pair(corrected_example("a dog", Span(2, 5, "</s>")), TOKENIZER, [END])
