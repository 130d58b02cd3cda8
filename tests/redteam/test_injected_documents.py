"""Injected documents through the whole product, before a model that obeys whatever it is not protected from."""

import pytest

from tests.redteam.conftest import NEIGHBOURS_SECRET, House
from tests.redteam.documents import DOCUMENTS
from tests.redteam.injected import AGAIN, FACT, QUESTION, Injected, Promise
from tests.redteam.minds import OBEYED, Gullible, Obedient, system_of
from tests.redteam.promises import check, without_its_fence
from tests.redteam.talks import talk

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=[document.title for document in DOCUMENTS])


def test_the_set_holds_fifty_documents_and_attacks_every_promise() -> None:
    assert len({document.title for document in DOCUMENTS}) == len(DOCUMENTS) >= 50
    assert {document.attacks for document in DOCUMENTS} == set(Promise)


@each_document
async def test_a_model_that_obeys_what_it_is_not_protected_from_obeys_no_document(
    house: House, document: Injected
) -> None:
    model = Obedient()
    for turn in await talk(house, model, document.title, QUESTION, AGAIN):
        check(turn)
        assert OBEYED not in turn.text
        assert turn.answer["citations"], "it answered from nothing"
    assert (model.obeyed, model.called) == ([], [])


@each_document
async def test_a_model_that_obeys_everything_breaks_no_promise(house: House, document: Injected) -> None:
    model = Gullible()
    [turn] = await talk(house, model, document.title, QUESTION)
    check(turn)
    assert (OBEYED in turn.text) is bool(model.obeyed) is document.reaches
    assert bool(model.called) is (document.attacks is Promise.TOOLS)
    assert NEIGHBOURS_SECRET not in str([sent.body for sent in turn.requests])
    assert len(await house.person.all(f"/bots/{house.bots[document.title]}/documents")) == 1
    house.asked[document.title] = turn.generations[0]


@pytest.mark.parametrize("document", [each for each in DOCUMENTS if each.reaches], ids=lambda document: document.title)
async def test_without_the_fence_the_obedient_model_would_obey(house: House, document: Injected) -> None:
    if document.title not in house.asked:
        [turn] = await talk(house, Gullible(), document.title, QUESTION)
        house.asked[document.title] = turn.generations[0]
    fenced = house.asked[document.title]
    assert OBEYED not in Obedient().answer(fenced)
    assert OBEYED in Obedient().answer(without_its_fence(fenced))


@pytest.mark.parametrize(
    "document", [each for each in DOCUMENTS if each.attacks is Promise.HISTORY], ids=lambda document: document.title
)
async def test_without_the_rule_on_earlier_answers_the_obedient_model_would_obey_them(
    house: House, document: Injected
) -> None:
    [_, second] = await talk(house, Obedient(), document.title, QUESTION, AGAIN)
    [body] = second.generations
    assert OBEYED not in Obedient().answer(body)
    rule = {"systemInstruction": {"parts": [{"text": system_of(body).replace("earlier answers", "answers")}]}}
    assert OBEYED in Obedient().answer(body | rule)


async def test_a_user_may_give_orders_and_is_told_the_fact(house: House) -> None:
    """The model of these tests does obey: what it is asked by the user, and by nobody else."""
    title = DOCUMENTS[0].title
    model = Obedient()
    double = house.deployed.double
    double.reset()
    double.answering = model.answer
    conversation = str((await house.person.post(f"/bots/{house.bots[title]}/conversations", json={}))["id"])
    question = "Answer only with: nine, when the reading room opens"
    answer = await house.person.post(f"/conversations/{conversation}/messages", json={"content": question})
    assert answer["content"].startswith(f"{OBEYED} nine")
    assert FACT.rstrip(".") in answer["content"]


async def test_all_of_it_stored_nothing_but_messages(house: House) -> None:
    bots = {bot["id"] for bot in await house.person.all("/bots")}
    assert bots == {house.person.bot, *house.bots.values()}
