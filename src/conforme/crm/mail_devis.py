"""The quote mail of a fiche (spec/fiches §1.2): sent on request only, and the deepest of the gateway's shapes."""

from conforme.crm.base import GatewayModel, Key, NullableText


class Envoi(GatewayModel):
    date_envoi: str
    type_mail: str
    utilisateur: str
    visualisation_url: NullableText


class CustomerInfo(GatewayModel):
    email: NullableText = None
    phone: NullableText = None
    name: NullableText = None


class GarantiesLink(GatewayModel):
    url: str
    text: NullableText = None


class AgenceInfo(GatewayModel):
    nom: NullableText
    adresse: NullableText
    telephone: NullableText
    email: NullableText = None
    logo_url: NullableText = None


class FicheInfo(GatewayModel):
    fiche_id: str
    cle: NullableText
    conseiller: NullableText


class SubscriberInfo(GatewayModel):
    civilite: NullableText
    nom: NullableText
    prenom: NullableText


class DevisDocuments(GatewayModel):
    conditions_generales: NullableText
    tableau_garanties: NullableText
    document_information: NullableText
    exemples_remboursements: NullableText


class MenuLinks(GatewayModel):
    home: NullableText = None
    garanties: NullableText = None
    documents: NullableText = None
    subscription: NullableText = None


class GarantieItem(GatewayModel):
    name: str
    value: str
    note_ref: NullableText = None


class GarantieSubcategory(GatewayModel):
    name: str
    items: list[GarantieItem]


class GarantieCategory(GatewayModel):
    """`subcategories` values are named groups of items, or bare lists of items."""

    category_name: str
    note_references: list[str]
    subcategories: dict[Key, GarantieSubcategory | list[GarantieItem]]
    items: list[GarantieItem]


class Note(GatewayModel):
    number: str
    text: str


class GarantiesDetails(GatewayModel):
    gamme: str
    product_name: str
    formule: str
    price: NullableText
    age_range: NullableText
    subscription_link: NullableText
    agence_info: AgenceInfo
    fiche_info: FicheInfo
    subscriber_info: SubscriberInfo
    documents: DevisDocuments
    menu_links: MenuLinks
    garanties: dict[Key, GarantieCategory]
    notes: list[Note]


class MailDevis(GatewayModel):
    mail_devis: Envoi
    customer_info: CustomerInfo
    garanties_link: GarantiesLink
    garanties_details: GarantiesDetails
