"""The sections of a fiche and their tables (spec/fiches §2.1), and the way there and back.

`join(split(x)) == x` for every payload the gateway's schema admits, unknown keys included.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from conforme.crm import mail_devis as devis
from conforme.crm import schemas as crm
from conforme.crm.base import GatewayModel
from conforme.fiches.layout import (
    ROOT,
    ROOT_KEY,
    Column,
    Form,
    Kind,
    Node,
    Row,
    columns_of,
    nullable_paths,
    place,
    reach,
)
from conforme.fiches.patch import Json

Tables = Mapping[str, Sequence[Row]]
"""Rows by table name."""


def _text(name: str) -> tuple[Column, ...]:
    return (Column(name, Kind.TEXT, (name,)),)


def _section(key: str, form: Form, model: type[GatewayModel], **rest: Any) -> Node:
    """A section of the fiche itself whose table is called like its key."""
    table = rest.pop("table", f"{ROOT}_{key}")
    columns = rest.pop("columns", None) or columns_of(model)
    return Node(table=table, at=(key,), form=form, columns=columns, **rest)


_ETIQUETTES = Node(
    table=f"{ROOT}_etiquettes",
    at=("etiquettes",),
    form=Form.MANY,
    columns=columns_of(crm.Etiquette),
    index_column="etiquette_index",
)

INFORMATION = _section(
    "information",
    Form.ONE,
    crm.Information,
    # The fiche's id is the cache row's own.
    columns=columns_of(crm.Information, omitted=["fiche_id"]),
    indexed=("groupe", "attribution_user_id"),
    below=(_ETIQUETTES,),
)

ELEMENTS_SOUSCRIPTION = _section(
    "elements_souscription",
    Form.ONE,
    crm.ElementsSouscription,
    columns=columns_of(
        crm.ElementsSouscription,
        prefixes={
            "ancien_contrat": "ancien_",
            "produit": "produit_",
            "paiement": "paiement_",
            "paiement.compte_prelevement": "prelevement_",
            "paiement.compte_virement": "virement_",
        },
    ),
    nullable=nullable_paths(crm.ElementsSouscription),
    indexed=("souscription_id",),
)

_FORMULE_DETAILS = Node(
    table=f"{ROOT}_tarification_formule_details",
    at=("details",),
    form=Form.PAIRS,
    columns=_text("detail_value"),
    parent_key="formule_row_id",
    key_column="detail_key",
    value_column="detail_value",
)
_FORMULES = Node(
    table=f"{ROOT}_tarification_formules",
    at=("formules",),
    form=Form.MANY,
    columns=columns_of(crm.Formule),
    parent_key="gamme_id",
    indexed=("formule_id",),
    below=(_FORMULE_DETAILS,),
)
_GAMMES = Node(
    table=f"{ROOT}_tarification_gammes",
    at=("gammes",),
    form=Form.MANY,
    columns=columns_of(crm.Gamme),
    parent_key="tarification_id",
    below=(_FORMULES,),
)
TARIFICATION = _section(
    "tarification", Form.MANY, crm.Tarification, table=f"{ROOT}_tarifications", below=(_GAMMES,)
)

RAW_SECTIONS = Node(
    table=f"{ROOT}_raw_sections",
    at=("raw_sections",),
    form=Form.PAIRS,
    columns=_text("section_value"),
    key_column="section_key",
    value_column="section_value",
)


def _subcategories_format(category: Json) -> Row:
    """`array` only when there are subcategories and all are bare lists (spec/fiches §2.1)."""
    found = category["subcategories"].values()
    bare = bool(found) and all(isinstance(subcategory, list) for subcategory in found)
    return {"subcategories_format": "array" if bare else "named"}


_DEVIS = f"{ROOT}_mail_devis"
_SUBCATEGORY_ITEMS = Node(
    table=f"{_DEVIS}_garantie_subcategory_items",
    at=("items",),
    form=Form.MANY,
    columns=columns_of(devis.GarantieItem),
    parent_key="subcategory_id",
)
_SUBCATEGORIES = Node(
    table=f"{_DEVIS}_garantie_subcategories",
    at=("subcategories",),
    form=Form.KEYED,
    columns=columns_of(devis.GarantieSubcategory),
    parent_key="category_id",
    key_column="sub_key",
    bare="items",
    below=(_SUBCATEGORY_ITEMS,),
)
_CATEGORY_NOTE_REFS = Node(
    table=f"{_DEVIS}_garantie_category_note_refs",
    at=("note_references",),
    form=Form.VALUES,
    columns=_text("note_ref"),
    parent_key="category_id",
    value_column="note_ref",
)
_CATEGORY_ITEMS = Node(
    table=f"{_DEVIS}_garantie_category_items",
    at=("items",),
    form=Form.MANY,
    columns=columns_of(devis.GarantieItem),
    parent_key="category_id",
)
_CATEGORIES = Node(
    table=f"{_DEVIS}_garantie_categories",
    at=("garanties_details", "garanties"),
    form=Form.KEYED,
    columns=columns_of(devis.GarantieCategory, omitted=["note_references"]),
    parent_key="mail_devis_id",
    key_column="category_key",
    derived=_subcategories_format,
    derived_columns=_text("subcategories_format"),
    below=(_CATEGORY_NOTE_REFS, _SUBCATEGORIES, _CATEGORY_ITEMS),
)
_NOTES = Node(
    table=f"{_DEVIS}_notes",
    at=("garanties_details", "notes"),
    form=Form.MANY,
    columns=columns_of(devis.Note),
    parent_key="mail_devis_id",
)
MAIL_DEVIS = _section(
    "mail_devis",
    Form.ONE,
    devis.MailDevis,
    columns=columns_of(
        devis.MailDevis,
        prefixes={
            "customer_info": "customer_",
            "garanties_link": "garanties_link_",
            "garanties_details": "details_",
            "garanties_details.agence_info": "agence_",
            "garanties_details.fiche_info": "fiche_info_",
            "garanties_details.subscriber_info": "subscriber_",
            "garanties_details.documents": "doc_",
            "garanties_details.menu_links": "menu_",
        },
    ),
    below=(_CATEGORIES, _NOTES),
    optional=True,
)

FICHE = Node(
    table=ROOT,
    at=(),
    form=Form.ONE,
    columns=(
        Column("details_success", Kind.FLAG, ("success",)),
        Column("details_message", Kind.TEXT, ("message",)),
    ),
    below=(
        INFORMATION,
        _section("prospect", Form.ONE, crm.Prospect, table=f"{ROOT}_prospects", indexed=("prospect_id",)),
        _section("conjoint", Form.ONE, crm.Conjoint, table=f"{ROOT}_conjoints", indexed=("conjoint_id",)),
        _section("enfants", Form.MANY, crm.Enfant, indexed=("enfant_id",)),
        _section("mails", Form.MANY, crm.Mail),
        _section("rendez_vous", Form.MANY, crm.RendezVous, indexed=("rdv_id",)),
        _section("commentaires", Form.MANY, crm.Commentaire, indexed=("commentaire_id",)),
        ELEMENTS_SOUSCRIPTION,
        TARIFICATION,
        _section("reclamations", Form.MANY, crm.Reclamation, indexed=("reclamation_id",)),
        _section("autres_contrats", Form.MANY, crm.AutreContrat, indexed=("contrat_id",)),
        _section("documents", Form.MANY, crm.Document, indexed=("document_id",)),
        _section("alertes", Form.MANY, crm.Alerte, indexed=("alerte_id",)),
        RAW_SECTIONS,
        MAIL_DEVIS,
    ),
)
"""The whole fiche: `fiche_cache` and what hangs on it. Recordings are another room's."""


def nodes(root: Node = FICHE) -> Iterator[Node]:
    """The tables below `root`, parents before their children; `root` itself is not among them."""
    for node in root.below:
        yield node
        yield from nodes(node)


@dataclass(frozen=True, slots=True)
class FicheRows:
    """A fiche taken apart.

    `root` are the columns of `fiche_cache` that the payload fills; rows of a table point at their parent by `id`,
    where the root's is `root["id"]`.
    """

    root: Row
    tables: Tables
    recordings: Sequence[Json] = field(default=())
    """The gateway's calls as they came."""


def split(payload: Json) -> FicheRows:
    """The rows of a fiche (`FicheDetails.payload()`), numbered from 1 within each table."""
    body = {key: value for key, value in payload.items() if key != "recordings"}
    fiche_id = None
    if body["information"] is not None:
        body["information"] = dict(body["information"])
        fiche_id = body["information"].pop("fiche_id")
    tables: defaultdict[str, list[Row]] = defaultdict(list)
    (item,) = FICHE.items(body)
    row = FICHE.row(item)
    # At this level a difference can only be a key too many: all our own are mandatory.
    root: Row = {
        "id": 1,
        "fiche_id": fiche_id,
        "raw_data": (row.pop("extra") or {}).get("set", {}),
        **row,
    }
    for node in FICHE.below:
        _split_section(node, body, root["id"], tables)
    return FicheRows(root, tables, payload["recordings"])


def _split_section(node: Node, parent: Json, parent_id: int, tables: defaultdict[str, list[Row]]) -> None:
    rows = tables[node.table]
    for index, item in enumerate(node.items(reach(parent, node.at)), start=1):
        row = node.row(item) | {node.parent_key: parent_id, "id": len(rows) + 1}
        if node.is_list:
            row[node.index_column] = index
        rows.append(row)
        for child in node.below:
            _split_section(child, item.body, 1 if child.parent_key == ROOT_KEY else row["id"], tables)


def join(rows: FicheRows) -> Json:
    """The payload of a fiche back from its rows, keys in the gateway's order."""
    body = FICHE.item({**rows.root, "extra": {"set": rows.root["raw_data"]}}).body
    children = {node.table: _by_parent(node, rows.tables.get(node.table, ())) for node in nodes()}
    joined: Json = {}
    for node in FICHE.below:
        _join_section(node, joined, _Ids(rows.root["id"], rows.root["id"]), children)
    if joined["information"] is not None:
        joined["information"] = {"fiche_id": rows.root["fiche_id"], **joined["information"]}
    return _in_order({**body, **joined, "recordings": list(rows.recordings)})


@dataclass(frozen=True, slots=True)
class _Ids:
    root: int
    parent: int


Children = Mapping[str, Mapping[int, Sequence[Row]]]


def _by_parent(node: Node, rows: Sequence[Row]) -> dict[int, list[Row]]:
    grouped: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row[node.parent_key]].append(row)
    if node.is_list:
        for siblings in grouped.values():
            siblings.sort(key=lambda row: row[node.index_column])
    return grouped


def _join_section(node: Node, parent: Json, ids: _Ids, children: Children) -> None:
    """Puts a section into its parent."""
    key = ids.root if node.parent_key == ROOT_KEY else ids.parent
    rows = children[node.table].get(key, ())
    if node.optional and not rows:
        return
    items = []
    for row in rows:
        item = node.item(row)
        for child in node.below:
            _join_section(child, item.body, _Ids(ids.root, row.get("id", 0)), children)
        items.append(item)
    place(parent, node.at, node.value(items))


_ORDER: tuple[str, ...] = tuple(crm.FicheDetails.model_fields)


def _in_order(body: Json) -> Json:
    known = {key: body[key] for key in _ORDER if key in body}
    return known | {key: value for key, value in body.items() if key not in known}
