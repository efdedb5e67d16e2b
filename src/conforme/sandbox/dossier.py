"""A sale in the shapes of the CRM gateway (spec/fiches §1.1, §1.2): its line in a listing, its whole file."""

import random
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from conforme.sandbox.cast import Person, advisors, names
from conforme.sandbox.population import Population, Recording, Sale

Json = dict[str, Any]


def listing_item(population: Population, sale: Sale, *, recordings_at: str | None) -> Json:
    """A fiche in the listing of its day; `recordings_at` is the base of recording URLs, None for no recordings.

    As the real gateway does, the listing gives some recordings without their URL: the details have it.
    """
    client = sale.cast.client
    recordings = population.recordings(sale) if recordings_at is not None else ()
    return {
        "id": sale.fiche_id,
        "cle": sale.key,
        "nom": client.family_name.upper(),
        "prenom": client.first_name,
        "telephone": sale.phone,
        "telephone_2": None,
        "email": sale.cast.mail,
        "statut": "Vente",
        "date_insertion": _moment(sale.at - timedelta(days=1)),
        "date_modification": _moment(sale.at) if sale.rank % 3 == 0 else None,
        "recordings": [
            recording_item(one, None if (sale.rank + rank) % 5 == 4 else recordings_at)
            | {"transcription": None}
            for rank, one in enumerate(recordings)
        ],
    }


def recording_item(recording: Recording, recordings_at: str | None) -> Json:
    start = recording.start.isoformat(timespec="milliseconds")
    last = recording.call_id[-2]
    if last == "7":
        start = recording.start.replace(microsecond=120_345).isoformat(timespec="microseconds")
    elif last == "3":
        start = recording.start.replace(tzinfo=None).isoformat(timespec="seconds")
    return {
        "call_id": recording.call_id,
        "start_time": start,
        "duration_seconds": recording.seconds,
        "direction": "out",
        "from_number": recording.from_number,
        "to_number": recording.to_number,
        "answered": recording.answered,
        "recording_url": None
        if recordings_at is None
        else f"{recordings_at}/recordings/{recording.file_name}",
    }


def details(population: Population, sale: Sale, *, recordings_at: str | None, mail_devis: bool) -> Json:
    """The whole fiche. Without `recordings_at` its recordings are not listed."""
    file = {
        "success": True,
        "message": "Fiche parsed successfully",
        "information": _information(population, sale),
        "prospect": _prospect(sale),
        "conjoint": _conjoint(sale),
        "enfants": [_enfant(sale, rank, child) for rank, child in enumerate(sale.cast.children)],
        "mails": _mails(sale),
        "rendez_vous": _rendez_vous(sale),
        "commentaires": _commentaires(sale),
        "elements_souscription": _souscription(sale),
        "tarification": _tarification(sale),
        "reclamations": _reclamations(sale),
        "autres_contrats": _autres_contrats(sale),
        "documents": _documents(sale),
        "alertes": _alertes(sale),
        "recordings": _recordings(population, sale, recordings_at),
        "raw_sections": {"notes": f"Demande du {sale.cast.asked_on:%d/%m/%Y}, {sale.cast.city}"},
    }
    return file | {"mail_devis": _mail_devis(sale)} if mail_devis else file


def users() -> list[Json]:
    """The directory of `/utilisateurs` (spec/fiches §1.3): every advisor, and one manager per group."""
    return [
        *(_user(one.id, one.first_name, one.family_name, one.group_index) for one in advisors()),
        *_managers(),
    ]


def groups(*, with_users: bool) -> list[Json]:
    """The sales teams of `/utilisateurs/groupes`; `user_ids` only with users."""
    return [_group(rank, name, with_users=with_users) for rank, name in enumerate(names()["groups"])]


def _managers() -> list[Json]:
    people = names()
    return [
        _user(
            str(101 + rank),
            people["first_names"]["F"][-1 - rank],
            people["family_names"][-1 - rank],
            rank,
            "Manager",
        )
        for rank in range(len(people["groups"]))
    ]


def _user(number: str, first_name: str, family_name: str, group: int, role: str = "Commercial") -> Json:
    agency_id, agency = names()["agencies"][group % len(names()["agencies"])]
    return {
        "id": number,
        "nom": family_name.upper(),
        "prenom": first_name,
        "telephone": None,
        "email": f"conseil{number}@example.test",
        "login": f"u{number}",
        "agence": agency,
        "agence_id": agency_id,
        "role": role,
        "role_id": "2" if role == "Commercial" else "3",
        "etat": "1",
        "actif": True,
        "tv": False,
        "se": False,
    }


def _group(rank: int, name: str, *, with_users: bool) -> Json:
    members = [one.id for one in advisors() if one.group_index == rank]
    manager = _managers()[rank]
    group: Json = {
        "id": str(51 + rank),
        "nom": name,
        "membres_count": len(members),
        "responsable_1": f"{manager['prenom']} {manager['nom']}",
        "responsable_2": None,
        "responsable_3": None,
    }
    return group | {"user_ids": members} if with_users else group


def _information(population: Population, sale: Sale) -> Json:
    advisor = sale.cast.advisor
    agency_id, agency = names()["agencies"][advisor.group_index % len(names()["agencies"])]
    cold = population.corpus.scenarios[sale.scenario].cold
    return {
        "fiche_id": sale.fiche_id,
        "cle": sale.key,
        "date_insertion": _moment(sale.at - timedelta(days=1)),
        "createur": None,
        "fiches_associees": None,
        "nombre_acces": 3 + sale.rank % 11,
        "dernier_acces": _moment(sale.at + timedelta(hours=2)),
        "groupe": names()["groups"][advisor.group_index],
        "groupe_responsable": None,
        "groupe_gestion": None,
        "groupe_reclamation": None,
        "agence_id": agency_id,
        "agence_nom": agency,
        "attribution_user_id": advisor.id,
        "attribution_user_nom": f"{advisor.first_name} {advisor.family_name.upper()}",
        "provenance_id": "32" if cold else "31",
        "provenance_nom": "FICHIER" if cold else "WEB",
        "provenance_numero": None,
        "provenance_periode_rappel": None,
        "origine_id": None,
        "origine_nom": None,
        "attribution_bis_user_id": None,
        "attribution_bis_user_nom": None,
        "refus_demarchage": cold,
        "exception_demarchage": False,
        "exception_demarchage_commentaire": None,
        "niveau_interet": 1 + sale.rank % 3 if sale.rank % 2 else None,
        "nombre_ouverture_mails": sale.rank % 4,
        "derniere_ouverture_mail": None,
        "nombre_visualisation_pages": 0,
        "derniere_visualisation_page": None,
        "espace_prospect_url": None,
        "ferme_espace_prospect": False,
        "desinscription_mail": False,
        "corbeille": False,
        "archive": False,
        "modules": ["Santé"],
        "etiquettes": [
            {"nom": "Contrat signé", "date": _day(sale.day), "style": "background:#2e7d32;"},
        ][: 1 + sale.rank % 2],
    }


def _prospect(sale: Sale) -> Json:
    cast, client = sale.cast, sale.cast.client
    return {
        "prospect_id": f"5{sale.fiche_id}",
        **_identity(client),
        "regime": "1",
        "regime_text": "Régime Général",
        "telephone": sale.phone,
        "mobile": sale.phone if sale.rank % 2 else None,
        "telephone_2": None,
        "mail": cast.mail,
        "mail_2": None,
        "adresse": cast.street,
        "code_postal": cast.postcode,
        "ville": cast.city.upper(),
        "num_secu": None,
        "num_affiliation": None,
        "situation_familiale": 2 if cast.spouse else 1,
        "situation_familiale_text": "Marié(e)" if cast.spouse else "Célibataire",
        "madelin": False,
        "profession": None,
        "csp": 6,
        "csp_text": "Retraité" if sale.day.year - client.birth.year > 62 else "Actif",
        "fax": None,
    }


def _identity(person: Person) -> Json:
    return {
        "civilite": 2 if person.sex == "F" else 1,
        "civilite_text": "Madame" if person.sex == "F" else "Monsieur",
        "nom": person.family_name.upper(),
        "prenom": person.first_name,
        "date_naissance": _day(person.birth),
    }


def _conjoint(sale: Sale) -> Json | None:
    spouse = sale.cast.spouse
    if spouse is None:
        return None
    empty = dict.fromkeys(
        ("regime", "regime_text", "telephone", "mobile", "mail", "profession", "csp", "csp_text")
    )
    return {"conjoint_id": f"6{sale.fiche_id}", **_identity(spouse), **empty}


def _enfant(sale: Sale, rank: int, child: Person) -> Json:
    return {"enfant_id": f"7{sale.fiche_id}{rank}", **_identity(child), "regime": None, "regime_text": None}


def _mails(sale: Sale) -> list[Json]:
    sent = {"utilisateur": _advisor(sale), "visualisation_url": None}
    return [
        {"date_envoi": _moment(sale.at), "type_mail": "Mail Devis", **sent},
        {
            "date_envoi": _moment(sale.at + timedelta(minutes=4)),
            "type_mail": "Projet",
            **sent,
            "utilisateur": "",
        },
    ]


def _rendez_vous(sale: Sale) -> list[Json]:
    if sale.rank % 2:
        return []
    meeting = datetime.combine(sale.cast.recall_on, sale.at.time()).replace(
        hour=sale.cast.recall_hour, minute=0
    )
    return [
        {
            "rdv_id": f"8{sale.fiche_id}",
            "etiquette": None,
            "etiquette_color": None,
            "utilisateur": _advisor(sale),
            "date_debut": _moment(meeting),
            "date_fin": None,
            "commentaire": None,
            "statut": None,
        }
    ]


def _commentaires(sale: Sale) -> list[Json]:
    texts = ("Rappel convenu", "Client joignable le matin", "Dossier complet")
    return [
        {
            "commentaire_id": f"comm_{rank}",
            "date": _moment(sale.at + timedelta(hours=rank)),
            "utilisateur": "Unknown" if rank else _advisor(sale),
            "texte": text,
        }
        for rank, text in enumerate(texts[: sale.rank % 4])
    ]


def _souscription(sale: Sale) -> Json:
    return {
        "souscription_id": f"88{sale.fiche_id}",
        "date_souscription": f"{sale.at:%Y-%m-%d %H:%M:%S}",
        "date_signature": None,
        "date_validation": None,
        "num_contrat": f"C-{sale.fiche_id}",
        "annulation_contrat": False,
        "type_vente": "1",
        "vente_a_froid": "3",
        "vf_accept": "0",
        "ancien_contrat": _ancien_contrat(sale),
        "produit": _produit(sale),
        "paiement": _paiement(sale),
        "questions_complementaires": {"Nationalité": "Française"},
        "questions_conseil": {"Budget ?": "Oui", "Besoin prioritaire": "Remboursements courants"},
        "raw_data": {},
    }


def _ancien_contrat(sale: Sale) -> Json:
    cast = sale.cast
    empty = dict.fromkeys(("code_assureur", "adresse", "code_postal", "ville", "date_souscription"), "")
    return {
        "deja_assure": True,
        "plus_12_mois": True,
        "ria_requested": False,
        "assureur": cast.old_insurer,
        **empty,
        "date_echeance": _day(cast.old_end),
        "num_contrat": "",
        "formule": "",
        "cotisation": f"{cast.old_monthly:.2f}",
    }


def _produit(sale: Sale) -> Json:
    offer = sale.cast.offer
    links = ("logo", "garanties", "dipa", "conditions_generales", "bulletin_adhesion", "devoir_conseil")
    return {
        "date_effet": _day(offer.starts),
        "date_effet_modifiable": None,
        "formule": f"{offer.insurer} {offer.plan_range} {offer.plan}",
        "groupe_nom": offer.insurer,
        "gamme_nom": offer.plan_range,
        "formule_nom": offer.plan,
        "cotisation": f"{offer.monthly:.2f}",
        "type_contrat": None,
        "type_client": None,
        **{f"{link}_url": None for link in links},
    }


def _paiement(sale: Sale) -> Json:
    client, cast = sale.cast.client, sale.cast
    return {
        "mode_paiement": "Prélèvement",
        "prelevement_le": str(cast.offer.debit_day),
        "periodicite": "mensuel",
        "pas_coord_bancaires": False,
        "compte_prelevement": {
            "account_id": f"61{sale.fiche_id}",
            "titulaire_nom": client.family_name.upper(),
            "titulaire_prenom": client.first_name,
            "titulaire_adresse": None,
            "titulaire_cp": cast.postcode,
            "titulaire_ville": cast.city.upper(),
        },
        "compte_virement": None,
    }


def _tarification(sale: Sale) -> list[Json]:
    offer = sale.cast.offer
    dice = random.Random(f"prices:{sale.fiche_id}")
    plans = {offer.plan: offer.monthly, "Éco": offer.monthly - Decimal(dice.randint(60, 140)) / 10}
    formules = [_formule(str(rank), plan, price) for rank, (plan, price) in enumerate(plans.items(), start=1)]
    links = dict.fromkeys(("logo_url", "garanties_url", "conditions_generales_url", "bulletin_adhesion_url"))
    return [{"nom": "Santé", "gammes": [{"nom": offer.plan_range, **links, "formules": formules}]}]


def _formule(number: str, plan: str, price: Decimal) -> Json:
    shown = f"{price:.2f}".replace(".", ",")
    return {"formule_id": number, "nom": plan, "prix": shown, "details": {"Assuré": shown}}


def _reclamations(sale: Sale) -> list[Json]:
    if sale.rank % 9 != 1:
        return []
    empty = dict.fromkeys(("assureur", "type_reclamation", "description", "statut", "date_traitement"))
    people = {"utilisateur_creation": None, "utilisateur_traitement": None}
    return [{"reclamation_id": "1", "date_creation": _day(sale.day + timedelta(days=5)), **empty, **people}]


def _autres_contrats(sale: Sale) -> list[Json]:
    if sale.rank % 3:
        return []
    empty = dict.fromkeys(("assureur", "numero_contrat", "date_souscription", "montant", "commentaire"))
    return [{"contrat_id": "1", "type_contrat": "Auto", **empty}]


def _documents(sale: Sale) -> list[Json]:
    files = {
        "bulletin-adhesion.pdf": "80 Ko",
        "document-information.pdf": "214 Ko",
        "fiche-conseil.pdf": "61 Ko",
    }
    return [
        {
            "document_id": str(rank),
            "type": "PDF",
            "nom": name,
            "taille": size,
            "date_creation": _day(sale.day),
            "selection_mail": rank > 1,
            "partage_prospect": False,
            "signer": rank == 1,
            "download_url": None,
        }
        for rank, (name, size) in enumerate(files.items(), start=1)
    ]


def _alertes(sale: Sale) -> list[Json]:
    empty = dict.fromkeys(
        ("commentaire", "attribuee_a", "traitee_le", "traitee_par", "commentaire_traitement")
    )
    alert = {
        "alerte_id": "1",
        "etat": "Traitée",
        "date": _day(sale.day),
        "etiquette": None,
        "libelle": "SIGN",
    }
    return [alert | {"deposee_le": "", "deposee_par": ""} | empty]


def _recordings(population: Population, sale: Sale, recordings_at: str | None) -> list[Json]:
    if recordings_at is None:
        return []
    return [recording_item(one, recordings_at) for one in population.recordings(sale)]


def _mail_devis(sale: Sale) -> Json:
    cast, offer = sale.cast, sale.cast.offer
    blank_documents = (
        "conditions_generales",
        "tableau_garanties",
        "document_information",
        "exemples_remboursements",
    )
    client = cast.client
    return {
        "mail_devis": {
            "date_envoi": _moment(sale.at),
            "type_mail": "Mail Devis",
            "utilisateur": _advisor(sale),
            "visualisation_url": None,
        },
        "customer_info": {"email": cast.mail, "phone": sale.phone, "name": client.name},
        "garanties_link": {"url": f"https://garanties.example.test/{sale.fiche_id}", "text": None},
        "garanties_details": {
            "gamme": offer.plan_range,
            "product_name": f"{offer.insurer} {offer.plan_range}",
            "formule": offer.plan,
            "price": f"{offer.monthly:.2f}",
            "age_range": None,
            "subscription_link": None,
            "agence_info": dict.fromkeys(("nom", "adresse", "telephone", "email", "logo_url")),
            "fiche_info": {"fiche_id": sale.fiche_id, "cle": None, "conseiller": _advisor(sale)},
            "subscriber_info": {
                "civilite": None,
                "nom": client.family_name.upper(),
                "prenom": client.first_name,
            },
            "documents": dict.fromkeys(blank_documents),
            "menu_links": dict.fromkeys(("home", "garanties", "documents", "subscription")),
            "garanties": _garanties(),
            "notes": [{"number": "1", "text": "Base de remboursement de la Sécurité sociale comprise."}],
        },
    }


def _garanties() -> Json:
    doctors = [
        {"name": "Généraliste", "value": "100 %", "note_ref": "1"},
        {"name": "Spécialiste", "value": "150 %"},
    ]
    return {
        "soins": {
            "category_name": "Soins courants",
            "note_references": ["1"],
            "subcategories": {"medecins": {"name": "Médecins", "items": doctors}},
            "items": [],
        },
        "dentaire": {
            "category_name": "Dentaire",
            "note_references": [],
            "subcategories": {"protheses": [{"name": "Couronne", "value": "300 %"}]},
            "items": [],
        },
    }


def _advisor(sale: Sale) -> str:
    advisor = sale.cast.advisor
    return f"{advisor.first_name} {advisor.family_name.upper()}"


def _day(day: date) -> str:
    return f"{day:%d/%m/%Y}"


def _moment(moment: datetime) -> str:
    return f"{moment:%d/%m/%Y %H:%M}"
