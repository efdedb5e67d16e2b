"""What the gateway says (spec/fiches §1.1, §1.2): listings of sales, and one fiche in all its sections."""

from typing import Annotated, Any

from pydantic import Field

from conforme.crm.base import (
    MAX_KEY,
    FicheId,
    GatewayModel,
    Key,
    NullableKey,
    NullableNumber,
    NullableText,
    Number,
)
from conforme.crm.mail_devis import MailDevis

INT64 = 2**63


class ConversationTurn(GatewayModel):
    time: str
    speaker: str
    text: str


class GatewayTranscription(GatewayModel):
    duration_formatted: NullableText = None
    speakers: list[str] = Field(default=[])
    conversation: str | list[ConversationTurn] = ""


class GatewayRecording(GatewayModel):
    """A call as the gateway lists it; `start_time` may carry microseconds or lack a zone."""

    call_id: Key
    start_time: str
    duration_seconds: Annotated[Number, Field(ge=-INT64, lt=INT64)]
    direction: str
    from_number: str
    to_number: str
    answered: bool
    recording_url: NullableText
    transcription: GatewayTranscription | None = None


class SalesFiche(GatewayModel):
    """One fiche of a listing: who, and which calls; the sections come by id."""

    id: FicheId
    cle: NullableText
    nom: str
    prenom: str
    telephone: str
    telephone_2: NullableText
    email: str
    statut: str
    date_insertion: str
    date_modification: NullableText
    recordings: list[GatewayRecording] = Field(default=[])

    def told(self, name: str) -> str | None:
        """A text that the contract does not promise, when the gateway tells it and it can be stored and indexed."""
        value = (self.model_extra or {}).get(name)
        return value if isinstance(value, str) and 0 < len(value) <= MAX_KEY else None


class Etiquette(GatewayModel):
    nom: str
    date: str
    style: str


class Information(GatewayModel):
    fiche_id: FicheId
    cle: str
    date_insertion: str
    createur: NullableText
    fiches_associees: NullableText
    nombre_acces: Number
    dernier_acces: str
    groupe: Key
    groupe_responsable: NullableText
    groupe_gestion: NullableText
    groupe_reclamation: NullableText
    agence_id: str
    agence_nom: str
    attribution_user_id: Key
    attribution_user_nom: str
    provenance_id: str
    provenance_nom: str
    provenance_numero: NullableText
    provenance_periode_rappel: NullableText
    origine_id: NullableText
    origine_nom: NullableText
    attribution_bis_user_id: NullableText
    attribution_bis_user_nom: NullableText
    refus_demarchage: bool
    exception_demarchage: bool
    exception_demarchage_commentaire: NullableText
    niveau_interet: NullableNumber
    nombre_ouverture_mails: Number
    derniere_ouverture_mail: NullableText
    nombre_visualisation_pages: Number
    derniere_visualisation_page: NullableText
    espace_prospect_url: NullableText
    ferme_espace_prospect: bool
    desinscription_mail: bool
    corbeille: bool
    archive: bool
    modules: list[str]
    etiquettes: list[Etiquette]


class Prospect(GatewayModel):
    prospect_id: Key
    civilite: Number
    civilite_text: str
    nom: str
    prenom: str
    date_naissance: str
    regime: str
    regime_text: str
    telephone: NullableText
    mobile: NullableText
    telephone_2: NullableText
    mail: NullableText
    mail_2: NullableText
    adresse: NullableText
    code_postal: NullableText
    ville: NullableText
    num_secu: NullableText
    num_affiliation: NullableText
    situation_familiale: NullableNumber
    situation_familiale_text: NullableText
    madelin: bool
    profession: NullableText
    csp: NullableNumber
    csp_text: NullableText
    fax: NullableText


class Conjoint(GatewayModel):
    conjoint_id: Key
    civilite: Number
    civilite_text: str
    nom: str
    prenom: str
    date_naissance: str
    regime: NullableText
    regime_text: NullableText
    telephone: NullableText
    mobile: NullableText
    mail: NullableText
    profession: NullableText
    csp: NullableNumber
    csp_text: NullableText


class Enfant(GatewayModel):
    enfant_id: Key
    civilite: Number
    civilite_text: str
    nom: str
    prenom: str
    date_naissance: str
    regime: NullableText
    regime_text: NullableText


class Mail(GatewayModel):
    date_envoi: str
    type_mail: str
    utilisateur: str
    visualisation_url: NullableText


class RendezVous(GatewayModel):
    rdv_id: Key
    etiquette: NullableText
    etiquette_color: NullableText
    utilisateur: str
    date_debut: str
    date_fin: NullableText
    commentaire: NullableText
    statut: NullableText


class Commentaire(GatewayModel):
    commentaire_id: Key
    date: str
    utilisateur: str
    texte: str


class AncienContrat(GatewayModel):
    deja_assure: bool
    plus_12_mois: bool
    ria_requested: bool
    assureur: NullableText
    code_assureur: NullableText
    adresse: NullableText
    code_postal: NullableText
    ville: NullableText
    date_souscription: NullableText
    date_echeance: NullableText
    num_contrat: NullableText
    formule: NullableText
    cotisation: NullableText


class Produit(GatewayModel):
    date_effet: NullableText
    date_effet_modifiable: NullableText
    formule: NullableText
    groupe_nom: NullableText
    gamme_nom: NullableText
    formule_nom: NullableText
    cotisation: NullableText
    type_contrat: NullableText
    type_client: NullableText
    logo_url: NullableText
    garanties_url: NullableText
    dipa_url: NullableText
    conditions_generales_url: NullableText
    bulletin_adhesion_url: NullableText
    devoir_conseil_url: NullableText


class Compte(GatewayModel):
    account_id: NullableText
    titulaire_nom: NullableText
    titulaire_prenom: NullableText
    titulaire_adresse: NullableText
    titulaire_cp: NullableText
    titulaire_ville: NullableText


class Paiement(GatewayModel):
    mode_paiement: NullableText
    prelevement_le: NullableText
    periodicite: NullableText
    pas_coord_bancaires: bool
    compte_prelevement: Compte | None
    compte_virement: Compte | None


class ElementsSouscription(GatewayModel):
    souscription_id: NullableKey
    date_souscription: NullableText
    date_signature: NullableText
    date_validation: NullableText
    num_contrat: NullableText
    annulation_contrat: bool
    type_vente: NullableText
    vente_a_froid: NullableText
    vf_accept: NullableText
    ancien_contrat: AncienContrat | None
    produit: Produit | None
    paiement: Paiement | None
    questions_complementaires: dict[str, Any]
    questions_conseil: dict[str, Any]
    raw_data: dict[str, Any]


class Formule(GatewayModel):
    formule_id: Key
    nom: str
    prix: str
    details: dict[Key, str]


class Gamme(GatewayModel):
    nom: str
    logo_url: NullableText
    garanties_url: NullableText
    conditions_generales_url: NullableText
    bulletin_adhesion_url: NullableText
    formules: list[Formule]


class Tarification(GatewayModel):
    nom: str
    gammes: list[Gamme]


class Reclamation(GatewayModel):
    reclamation_id: Key
    date_creation: str
    assureur: NullableText
    type_reclamation: NullableText
    description: NullableText
    statut: NullableText
    date_traitement: NullableText
    utilisateur_creation: NullableText
    utilisateur_traitement: NullableText


class AutreContrat(GatewayModel):
    contrat_id: Key
    type_contrat: str
    assureur: NullableText
    numero_contrat: NullableText
    date_souscription: NullableText
    montant: NullableText
    commentaire: NullableText


class Document(GatewayModel):
    document_id: Key
    type: str
    nom: str
    taille: str
    date_creation: str
    selection_mail: bool
    partage_prospect: bool
    signer: bool
    download_url: NullableText


class Alerte(GatewayModel):
    alerte_id: Key
    etat: str
    date: str
    etiquette: NullableText
    libelle: str
    deposee_le: str
    deposee_par: str
    commentaire: NullableText
    attribuee_a: NullableText
    traitee_le: NullableText
    traitee_par: NullableText
    commentaire_traitement: NullableText


class FicheDetails(GatewayModel):
    """One fiche. `mail_devis` is absent unless it was asked for, and may then be null."""

    success: bool
    message: str
    information: Information | None
    prospect: Prospect | None
    conjoint: Conjoint | None
    enfants: list[Enfant]
    mails: list[Mail]
    rendez_vous: list[RendezVous]
    commentaires: list[Commentaire]
    elements_souscription: ElementsSouscription | None
    tarification: list[Tarification]
    reclamations: list[Reclamation]
    autres_contrats: list[AutreContrat]
    documents: list[Document]
    alertes: list[Alerte]
    recordings: list[GatewayRecording]
    raw_sections: dict[Key, Any]
    mail_devis: MailDevis | None = None

    @property
    def mail_devis_answered(self) -> bool:
        """The gateway spoke of the quote mail, were it to say that there is none."""
        return "mail_devis" in self.model_fields_set

    def payload(self) -> dict[str, Any]:
        """The JSON object as it came: keys that were absent stay absent."""
        return self.model_dump(mode="json", exclude_unset=True)
