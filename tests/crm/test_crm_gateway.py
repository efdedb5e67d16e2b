"""The gateway client against the answers a gateway may give."""

import json
from collections.abc import Callable
from datetime import date
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from conforme.crm.errors import FicheNotFound, GatewayFailed
from conforme.crm.exchange import authorization
from conforme.crm.gateway import CrmGateway
from conforme.foundation.outbound import Outbound
from conforme.settings import Settings

DAY = date(2026, 1, 5)
CALL = {
    "call_id": "77001",
    "start_time": "2026-01-05T08:14:03.120+00:00",
    "duration_seconds": 312,
    "direction": "out",
    "from_number": "33199001234",
    "to_number": "33639981234",
    "answered": True,
    "recording_url": None,
}
SALE: dict[str, Any] = {
    "id": "900101",
    "cle": "0f0e0d0c0b0a",
    "nom": "MARTEL",
    "prenom": "Odile",
    "telephone": "0639981234",
    "telephone_2": None,
    "email": "odile@example.test",
    "statut": "Vente",
    "date_insertion": "05/01/2026 09:12",
    "date_modification": None,
    "recordings": [CALL],
}
DETAILS: dict[str, Any] = {
    "success": True,
    "message": "Fiche parsed successfully",
    "information": None,
    "prospect": None,
    "conjoint": None,
    "enfants": [],
    "mails": [],
    "rendez_vous": [],
    "commentaires": [{"commentaire_id": "c1", "date": "", "utilisateur": "", "texte": "Rappel"}],
    "elements_souscription": None,
    "tarification": [],
    "reclamations": [],
    "autres_contrats": [],
    "documents": [],
    "alertes": [],
    "recordings": [CALL],
    "raw_sections": {"notes": "texte"},
}

Answer = Callable[[httpx2.Request], httpx2.Response]


class Gateway:
    """A client whose gateway is a function."""

    def __init__(self, answer: Answer | httpx2.Response, **settings: Any) -> None:
        self.asked: list[httpx2.Request] = []
        self._answer = answer
        known = Settings.model_validate({"fiche_api_base_url": "http://crm.example.test"} | settings)
        outbound = Outbound(known)
        provider = outbound.provider

        def mocked(**arguments: Any) -> httpx2.AsyncClient:
            client = provider(**arguments)
            return httpx2.AsyncClient(
                base_url=client.base_url,
                headers=client.headers,
                transport=httpx2.MockTransport(self._respond),
            )

        outbound.provider = mocked
        self.client = CrmGateway(outbound, known)

    def _respond(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        return self._answer if isinstance(self._answer, httpx2.Response) else self._answer(request)


def ok(body: Any) -> httpx2.Response:
    return httpx2.Response(200, json=body)


async def test_the_sales_of_a_day_are_asked_for_in_the_gateway_s_words() -> None:
    gateway = Gateway(ok({"fiches": [SALE], "total": 1}), fiche_api_auth_token="secret")
    listing = await gateway.client.sales(DAY, DAY, include_recordings=True)
    assert [fiche.id for fiche in listing.fiches] == ["900101"]
    assert (listing.total, listing.quarantined) == (1, ())
    [request] = gateway.asked
    assert request.url == (
        "http://crm.example.test/api/fiches/sales-with-calls?start_date=2026-01-05&end_date=2026-01-05"
        "&status_id=53&include_recordings=true&include_transcriptions=false"
    )
    assert request.headers["authorization"] == "Bearer secret"


async def test_a_fiche_is_asked_for_by_id_and_without_a_key_of_its_own() -> None:
    gateway = Gateway(ok(DETAILS))
    details = await gateway.client.fiche("900101", include_mail_devis=True)
    assert details.payload() == DETAILS
    [request] = gateway.asked
    assert request.url == (
        "http://crm.example.test/api/fiches/by-id/900101?include_recordings=true"
        "&include_transcriptions=false&include_mail_devis=true"
    )
    assert "authorization" not in request.headers


async def test_a_malformed_fiche_is_set_aside_with_its_reason_and_the_others_go_on() -> None:
    broken = {**SALE, "id": "900102", "recordings": [{**CALL, "call_id": 77}], "nom": None}
    nameless = {"id": "0699-secret", "nom": "MARTEL"}
    gateway = Gateway(ok({"fiches": [broken, SALE, nameless, "x", SALE], "total": 5}))
    listing = await gateway.client.sales(DAY, DAY, include_recordings=True)
    assert [fiche.id for fiche in listing.fiches] == ["900101", "900101"]
    assert [(each.index, each.fiche_id) for each in listing.quarantined] == [
        (0, "900102"),
        (2, None),
        (3, None),
    ]
    assert listing.quarantined[0].reason == "nom: string_type; recordings.0.call_id: string_type"
    told = " ".join(each.reason for each in listing.quarantined)
    assert "MARTEL" not in told
    assert "secret" not in told


async def test_a_reason_never_repeats_a_key_that_people_wrote() -> None:
    formule = {"formule_id": "1", "nom": "", "prix": "", "details": {"Odile MARTEL": 4}}
    gamme: dict[str, Any] = dict.fromkeys(
        ["logo_url", "garanties_url", "conditions_generales_url", "bulletin_adhesion_url"]
    )
    tarification = [{"nom": "Santé", "gammes": [{**gamme, "nom": "Zen", "formules": [formule]}]}]
    gateway = Gateway(ok({**DETAILS, "tarification": tarification}))
    with pytest.raises(GatewayFailed) as caught:
        await gateway.client.fiche("900101")
    assert caught.value.message == (
        "Failed to fetch fiche details for 900101: tarification.0.gammes.0.formules.0.details.*: string_type"
    )
    assert not caught.value.retryable


async def test_keys_that_nobody_knows_survive() -> None:
    newer = {
        **DETAILS,
        "score_ia": {"v": [1, None]},
        "commentaires": [{**DETAILS["commentaires"][0], "k": True}],
    }
    assert (await Gateway(ok(newer)).client.fiche("900101")).payload() == newer


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        *((status, False) for status in (302, 400, 401, 403, 409, 425)),
        *((status, True) for status in (408, 429, 500, 501, 502, 503, 504)),
    ],
)
async def test_only_what_may_pass_is_worth_another_attempt(status: int, retryable: bool) -> None:
    gateway = Gateway(httpx2.Response(status, json={"error": "Odile MARTEL"}))
    with pytest.raises(GatewayFailed) as caught:
        await gateway.client.fiche("900101")
    assert caught.value.retryable is retryable
    assert caught.value.message.startswith(f"Failed to fetch fiche details for 900101: status={status}")
    assert "MARTEL" not in caught.value.message
    assert len(gateway.asked) == 1


async def test_a_404_may_be_a_busy_gateway_s_and_a_plain_no_is_final() -> None:
    busy = Gateway(httpx2.Response(404, headers={"retry-after": "3"}))
    with pytest.raises(FicheNotFound, match=r"^Fiche 900101 not found$") as caught:
        await busy.client.fiche("900101")
    assert (caught.value.retryable, caught.value.retry_after) == (True, 3)
    with pytest.raises(FicheNotFound) as final:
        await Gateway(ok({"success": False, "message": "?"})).client.fiche("900101")
    assert not final.value.retryable


async def test_a_404_of_a_listing_is_a_failure_worth_another_attempt() -> None:
    with pytest.raises(GatewayFailed, match=r"calls for 2026-01-05\.\.2026-01-05: status=404") as caught:
        await Gateway(httpx2.Response(404)).client.sales(DAY, DAY, include_recordings=False)
    assert caught.value.retryable


async def test_the_gateway_s_wish_to_wait_is_kept_within_fifteen_seconds() -> None:
    for asked, waits in (("7", 7), ("86400", 15), ("Wed, 01 Jan 2099 00:00:00 GMT", 15), ("soon", None)):
        with pytest.raises(GatewayFailed) as caught:
            await Gateway(httpx2.Response(429, headers={"retry-after": asked})).client.fiche("900101")
        assert caught.value.retry_after == waits


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (httpx2.ConnectError("refused"), True),
        (httpx2.ReadTimeout("slow"), True),
        (httpx2.RemoteProtocolError("reset"), True),
        (httpx2.UnsupportedProtocol("ftp"), False),
    ],
)
async def test_a_broken_exchange_is_told_in_our_own_words(error: Exception, retryable: bool) -> None:
    def breaks(_: httpx2.Request) -> httpx2.Response:
        raise error

    with pytest.raises(GatewayFailed) as caught:
        await Gateway(breaks).client.fiche("900101")
    assert caught.value.retryable is retryable
    assert str(error) not in caught.value.message


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"\xff", b"[" * 200_000, b'{"a":' * 150 + b"1" + b"}" * 150, b"1" * 5000],
    ids=["empty", "html", "list", "latin-1", "unclosed", "deep", "huge"],
)
async def test_what_is_not_an_answer_is_refused_without_another_attempt(body: bytes) -> None:
    for call in ("fiche", "sales"):
        gateway = Gateway(httpx2.Response(200, content=body)).client
        with pytest.raises(GatewayFailed) as caught:
            await (
                gateway.fiche("900101")
                if call == "fiche"
                else gateway.sales(DAY, DAY, include_recordings=False)
            )
        assert not caught.value.retryable


@pytest.mark.parametrize("body", [{"fiches": {}, "total": 0}, {"fiches": []}, {"fiches": [], "total": True}])
async def test_a_listing_without_its_frame_is_refused(body: Any) -> None:
    with pytest.raises(GatewayFailed):
        await Gateway(ok(body)).client.sales(DAY, DAY, include_recordings=False)


async def test_another_fiche_than_the_one_asked_for_is_refused() -> None:
    fields = json.loads(INFORMATION)
    with pytest.raises(GatewayFailed, match="another fiche"):
        await Gateway(ok({**DETAILS, "information": fields})).client.fiche("900102")


async def test_text_arrives_as_a_database_can_hold_it() -> None:
    body = json.dumps({**DETAILS, "message": "a\0b\ud800c", "raw_sections": {"k\0": "\0"}}).encode()
    body = body.replace(b'"alertes": []', b'"alertes": [], "ratio": NaN')
    details = await Gateway(httpx2.Response(200, content=body)).client.fiche("900101")
    assert details.message == "ab\ufffdc"
    assert details.raw_sections == {"k": ""}
    assert details.payload()["ratio"] is None


@pytest.mark.parametrize(
    ("token", "header"),
    [
        (None, None),
        (" ", None),
        ("abc", "Bearer abc"),
        ("bearer abc", "bearer abc"),
        ("BEARER x", "BEARER x"),
    ],
)
def test_a_token_is_sent_once_as_bearer(token: str | None, header: str | None) -> None:
    assert authorization(SecretStr(token) if token else None).get("authorization") == header


INFORMATION = """{"fiche_id":"900101","cle":"0f","date_insertion":"05/01/2026 09:12","createur":null,
"fiches_associees":null,"nombre_acces":12,"dernier_acces":"08/01/2026 17:40","groupe":"EQUIPE R1",
"groupe_responsable":null,"groupe_gestion":null,"groupe_reclamation":null,"agence_id":"4","agence_nom":"1-LYON",
"attribution_user_id":"211","attribution_user_nom":"Inès COLLET","provenance_id":"31","provenance_nom":"WEB",
"provenance_numero":null,"provenance_periode_rappel":null,"origine_id":null,"origine_nom":null,
"attribution_bis_user_id":null,"attribution_bis_user_nom":null,"refus_demarchage":false,
"exception_demarchage":false,"exception_demarchage_commentaire":null,"niveau_interet":null,
"nombre_ouverture_mails":1,"derniere_ouverture_mail":null,"nombre_visualisation_pages":0,
"derniere_visualisation_page":null,"espace_prospect_url":null,"ferme_espace_prospect":false,
"desinscription_mail":false,"corbeille":false,"archive":false,"modules":["Santé"],"etiquettes":[]}"""
