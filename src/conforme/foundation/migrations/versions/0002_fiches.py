"""The cache of fiches by section, and which days of sales were fetched.

Constraints take their names from the naming convention of the metadata.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Columns = list[sa.Column[Any]]


def _of(kind: sa.types.TypeEngine[Any], names: str) -> Columns:
    return [sa.Column(name, kind) for name in names.split()]


def _text(names: str) -> Columns:
    return _of(sa.Text(), names)


def _number(names: str) -> Columns:
    return _of(sa.BigInteger(), names)


def _flag(names: str) -> Columns:
    return _of(sa.Boolean(), names)


def _texts(names: str) -> Columns:
    return _of(ARRAY(sa.Text()), names)


def _json(names: str) -> Columns:
    return _of(JSON(), names)


def _moments(names: str) -> Columns:
    kind = sa.DateTime(timezone=True)
    return [sa.Column(name, kind, server_default=sa.func.now(), nullable=False) for name in names.split()]


def _id() -> sa.Column[Any]:
    return sa.Column("id", sa.BigInteger(), primary_key=True)


def _parent(key: str, table: str) -> sa.Column[Any]:
    return sa.Column(key, sa.BigInteger(), sa.ForeignKey(f"{table}.id", ondelete="CASCADE"), nullable=False)


def _one(name: str, columns: Columns, *, indexed: str = "") -> None:
    """A section that a fiche has once."""
    op.create_table(
        name,
        _id(),
        _parent("fiche_cache_id", "fiche_cache"),
        *columns,
        *_json("extra"),
        *_moments("created_at updated_at"),
        sa.UniqueConstraint("fiche_cache_id"),
    )
    _index(name, indexed)


def _many(
    name: str,
    columns: Columns,
    *,
    below: tuple[str, str] = ("fiche_cache_id", "fiche_cache"),
    index: str = "row_index",
    key: str = "",
    indexed: str = "",
) -> None:
    """A section of several rows in order; `key` names them where they have names."""
    op.create_table(
        name,
        _id(),
        _parent(*below),
        sa.Column(index, sa.Integer(), nullable=False),
        *([sa.Column(key, sa.Text(), nullable=False)] if key else []),
        *columns,
        *_json("extra"),
        *_moments("created_at"),
        sa.UniqueConstraint(below[0], key or index),
    )
    _index(name, indexed)


def _index(table: str, names: str) -> None:
    for name in names.split():
        op.create_index(op.f(f"ix_{table}_{name}"), table, [name])


def upgrade() -> None:
    _roots()
    _persons()
    _contracts()
    _lists()
    _mail_devis()


def _roots() -> None:
    op.create_table(
        "fiche_cache",
        _id(),
        sa.Column("fiche_id", sa.Text(), nullable=False),
        *_text("groupe agence_nom prospect_nom prospect_prenom prospect_email prospect_tel sales_date cle"),
        *_flag("details_success"),
        *_text("details_message"),
        sa.Column("raw_data", JSONB(), server_default="{}", nullable=False),
        sa.Column("has_recordings", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("recordings_count", sa.Integer()),
        *_moments("fetched_at"),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        *_of(sa.DateTime(timezone=True), "last_revalidated_at details_fetched_at listed_at"),
        *_moments("created_at updated_at"),
        sa.UniqueConstraint("fiche_id"),
    )
    _index("fiche_cache", "expires_at groupe sales_date last_revalidated_at")
    op.create_table(
        "fiche_days",
        sa.Column("day", sa.Date(), primary_key=True),
        *_of(sa.DateTime(timezone=True), "fetched_at"),
        sa.Column("expected", sa.Integer(), server_default="0", nullable=False),
        sa.Column("stored", sa.Integer(), server_default="0", nullable=False),
        sa.Column("quarantined", sa.Integer(), server_default="0", nullable=False),
        *_text("error"),
        sa.Column("attempted_at", sa.DateTime(timezone=True), nullable=False),
    )


def _persons() -> None:
    _one(
        "fiche_cache_information",
        [
            *_text("cle date_insertion createur fiches_associees"),
            *_number("nombre_acces"),
            *_text(
                "dernier_acces groupe groupe_responsable groupe_gestion groupe_reclamation agence_id "
                "agence_nom attribution_user_id attribution_user_nom provenance_id provenance_nom "
                "provenance_numero provenance_periode_rappel origine_id origine_nom "
                "attribution_bis_user_id attribution_bis_user_nom"
            ),
            *_flag("refus_demarchage exception_demarchage"),
            *_text("exception_demarchage_commentaire"),
            *_number("niveau_interet nombre_ouverture_mails"),
            *_text("derniere_ouverture_mail"),
            *_number("nombre_visualisation_pages"),
            *_text("derniere_visualisation_page espace_prospect_url"),
            *_flag("ferme_espace_prospect desinscription_mail corbeille archive"),
            *_texts("modules"),
        ],
        indexed="groupe attribution_user_id",
    )
    _many("fiche_cache_etiquettes", _text("nom date style"), index="etiquette_index")
    _one(
        "fiche_cache_prospects",
        [
            *_text("prospect_id"),
            *_number("civilite"),
            *_text(
                "civilite_text nom prenom date_naissance regime regime_text telephone mobile "
                "telephone_2 mail mail_2 adresse code_postal ville num_secu num_affiliation"
            ),
            *_number("situation_familiale"),
            *_text("situation_familiale_text"),
            *_flag("madelin"),
            *_text("profession"),
            *_number("csp"),
            *_text("csp_text fax"),
        ],
        indexed="prospect_id",
    )
    _one(
        "fiche_cache_conjoints",
        [
            *_text("conjoint_id"),
            *_number("civilite"),
            *_text(
                "civilite_text nom prenom date_naissance regime regime_text telephone mobile mail profession"
            ),
            *_number("csp"),
            *_text("csp_text"),
        ],
        indexed="conjoint_id",
    )
    _many(
        "fiche_cache_enfants",
        [
            *_text("enfant_id"),
            *_number("civilite"),
            *_text("civilite_text nom prenom date_naissance regime regime_text"),
        ],
        indexed="enfant_id",
    )


def _contracts() -> None:
    _one(
        "fiche_cache_elements_souscription",
        [
            *_text("souscription_id date_souscription date_signature date_validation num_contrat"),
            *_flag("annulation_contrat"),
            *_text("type_vente vente_a_froid vf_accept"),
            *_flag("ancien_deja_assure ancien_plus_12_mois ancien_ria_requested"),
            *_text(
                "ancien_assureur ancien_code_assureur ancien_adresse ancien_code_postal ancien_ville "
                "ancien_date_souscription ancien_date_echeance ancien_num_contrat ancien_formule "
                "ancien_cotisation produit_date_effet produit_date_effet_modifiable produit_formule "
                "produit_groupe_nom produit_gamme_nom produit_formule_nom produit_cotisation "
                "produit_type_contrat produit_type_client produit_logo_url produit_garanties_url "
                "produit_dipa_url produit_conditions_generales_url produit_bulletin_adhesion_url "
                "produit_devoir_conseil_url paiement_mode_paiement paiement_prelevement_le "
                "paiement_periodicite"
            ),
            *_flag("paiement_pas_coord_bancaires"),
            *_text(
                "prelevement_account_id prelevement_titulaire_nom prelevement_titulaire_prenom "
                "prelevement_titulaire_adresse prelevement_titulaire_cp prelevement_titulaire_ville "
                "virement_account_id virement_titulaire_nom virement_titulaire_prenom "
                "virement_titulaire_adresse virement_titulaire_cp virement_titulaire_ville"
            ),
            *_json("questions_complementaires questions_conseil raw_data"),
        ],
        indexed="souscription_id",
    )
    _many("fiche_cache_tarifications", _text("nom"))
    _many(
        "fiche_cache_tarification_gammes",
        _text("nom logo_url garanties_url conditions_generales_url bulletin_adhesion_url"),
        below=("tarification_id", "fiche_cache_tarifications"),
    )
    _many(
        "fiche_cache_tarification_formules",
        _text("formule_id nom prix"),
        below=("gamme_id", "fiche_cache_tarification_gammes"),
        indexed="formule_id",
    )
    _many(
        "fiche_cache_tarification_formule_details",
        _text("detail_value"),
        below=("formule_row_id", "fiche_cache_tarification_formules"),
        key="detail_key",
    )
    _many(
        "fiche_cache_reclamations",
        _text(
            "reclamation_id date_creation assureur type_reclamation description statut "
            "date_traitement utilisateur_creation utilisateur_traitement"
        ),
        indexed="reclamation_id",
    )
    _many(
        "fiche_cache_autres_contrats",
        _text("contrat_id type_contrat assureur numero_contrat date_souscription montant commentaire"),
        indexed="contrat_id",
    )


def _lists() -> None:
    _many("fiche_cache_mails", _text("date_envoi type_mail utilisateur visualisation_url"))
    _many(
        "fiche_cache_rendez_vous",
        _text("rdv_id etiquette etiquette_color utilisateur date_debut date_fin commentaire statut"),
        indexed="rdv_id",
    )
    _many(
        "fiche_cache_commentaires", _text("commentaire_id date utilisateur texte"), indexed="commentaire_id"
    )
    _many(
        "fiche_cache_documents",
        [
            *_text("document_id type nom taille date_creation"),
            *_flag("selection_mail partage_prospect signer"),
            *_text("download_url"),
        ],
        indexed="document_id",
    )
    _many(
        "fiche_cache_alertes",
        _text(
            "alerte_id etat date etiquette libelle deposee_le deposee_par commentaire attribuee_a "
            "traitee_le traitee_par commentaire_traitement"
        ),
        indexed="alerte_id",
    )
    _many("fiche_cache_raw_sections", _text("section_value"), key="section_key")


def _mail_devis() -> None:
    _one(
        "fiche_cache_mail_devis",
        _text(
            "date_envoi type_mail utilisateur visualisation_url customer_email customer_phone "
            "customer_name garanties_link_url garanties_link_text details_gamme "
            "details_product_name details_formule details_price details_age_range "
            "details_subscription_link agence_nom agence_adresse agence_telephone agence_email "
            "agence_logo_url fiche_info_fiche_id fiche_info_cle fiche_info_conseiller "
            "subscriber_civilite subscriber_nom subscriber_prenom doc_conditions_generales "
            "doc_tableau_garanties doc_document_information doc_exemples_remboursements menu_home "
            "menu_garanties menu_documents menu_subscription"
        ),
    )
    _many(
        "fiche_cache_mail_devis_garantie_categories",
        _text("category_name subcategories_format"),
        below=("mail_devis_id", "fiche_cache_mail_devis"),
        key="category_key",
    )
    _many(
        "fiche_cache_mail_devis_garantie_category_note_refs",
        _text("note_ref"),
        below=("category_id", "fiche_cache_mail_devis_garantie_categories"),
    )
    _many(
        "fiche_cache_mail_devis_garantie_category_items",
        _text("name value note_ref"),
        below=("category_id", "fiche_cache_mail_devis_garantie_categories"),
    )
    _many(
        "fiche_cache_mail_devis_garantie_subcategories",
        _text("name"),
        below=("category_id", "fiche_cache_mail_devis_garantie_categories"),
        key="sub_key",
    )
    _many(
        "fiche_cache_mail_devis_garantie_subcategory_items",
        _text("name value note_ref"),
        below=("subcategory_id", "fiche_cache_mail_devis_garantie_subcategories"),
    )
    _many(
        "fiche_cache_mail_devis_notes",
        _text("number text"),
        below=("mail_devis_id", "fiche_cache_mail_devis"),
    )


TABLES = """
fiche_cache_mail_devis_notes
fiche_cache_mail_devis_garantie_subcategory_items
fiche_cache_mail_devis_garantie_subcategories
fiche_cache_mail_devis_garantie_category_items
fiche_cache_mail_devis_garantie_category_note_refs
fiche_cache_mail_devis_garantie_categories
fiche_cache_mail_devis
fiche_cache_raw_sections
fiche_cache_alertes
fiche_cache_documents
fiche_cache_autres_contrats
fiche_cache_reclamations
fiche_cache_tarification_formule_details
fiche_cache_tarification_formules
fiche_cache_tarification_gammes
fiche_cache_tarifications
fiche_cache_elements_souscription
fiche_cache_commentaires
fiche_cache_rendez_vous
fiche_cache_mails
fiche_cache_enfants
fiche_cache_conjoints
fiche_cache_prospects
fiche_cache_etiquettes
fiche_cache_information
fiche_days
fiche_cache
"""


def downgrade() -> None:
    for table in TABLES.split():
        op.drop_table(table)
