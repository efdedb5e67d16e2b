"""A database of the original with invented people in it."""

from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

SCRYPT = (
    "scrypt$1$16384$8$1$AAECAwQFBgcICQoLDA0ODw"
    "$tnV_VBvboYTthmZW2NUcuHdXOHQ3_DJ5TCcJgmN9Pvwgbk3nSJgt9vnXmMfVms81FaGg1OmWFCfHID5uCfBSrA"
)
"""Of the password `change-me-123`: the contract's own vector."""
WORDS = "Bonjour je suis Inès votre conseillère du cabinet Alpha et vous acceptez le prélèvement mensuel"


class OldDatabase:
    """Puts rows in and reads them back."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = psycopg.Connection[dict[str, Any]].connect(
            url, autocommit=True, row_factory=dict_row
        )

    def close(self) -> None:
        self._connection.close()

    def put(self, table: str, **columns: Any) -> int:
        """Inserts a row; returns its id."""
        values = [Jsonb(value) if isinstance(value, dict) else value for value in columns.values()]
        query = sql.SQL("insert into {} ({}) values ({}) returning id").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
        )
        row = self._connection.execute(query, values).fetchone()
        assert row is not None
        return int(row["id"])

    def run(self, statement: str) -> None:
        self._connection.execute(statement.encode())

    def empty(self) -> None:
        tables = self._connection.execute(
            "select table_name from information_schema.tables where table_schema = 'public'"
        ).fetchall()
        names = sql.SQL(", ").join(sql.Identifier(row["table_name"]) for row in tables)
        self._connection.execute(sql.SQL("truncate {} restart identity cascade").format(names))

    # What a house of the original holds

    def person(self, email: str, **columns: Any) -> int:
        return self.put("users", **{"email": email, "password_hash": SCRYPT, **columns})

    def config(self, name: str = "Vente santé", first: int = 1, steps: int = 2, **columns: Any) -> int:
        """A configuration of steps with two control points each, counted from `first`."""
        config = self.put("audit_configs", name=name, **columns)
        for position in range(first, first + steps):
            self.put(
                "audit_steps",
                audit_config_id=config,
                name=f"Étape {position}",
                prompt="Vérifie ce qui est dit.",
                control_points=["Le conseiller se présente.", "Le client accepte le prélèvement."],
                severity_level="HIGH",
                is_critical=position == first,
                position=position,
                weight=5,
            )
        return config

    def fiche(self, fiche_id: str, **columns: Any) -> int:
        return self.put(
            "fiche_cache",
            **{
                "fiche_id": fiche_id,
                "groupe": "EQUIPE R1",
                "prospect_nom": "MARTEL",
                "prospect_prenom": "Odile",
                "expires_at": "2026-01-20 08:00:00",
                "fetched_at": "2026-01-05 08:00:00",
                **columns,
            },
        )

    def detailed_fiche(self, fiche_id: str) -> int:
        """A fiche with sections in their tables."""
        fiche = self.fiche(fiche_id, details_success=True, details_message="OK")
        self.put(
            "fiche_cache_information",
            fiche_cache_id=fiche,
            date_insertion="05/01/2026 09:12",
            nombre_acces=12,
            groupe="EQUIPE R1",
            attribution_user_id="211",
            modules=["Santé"],
            corbeille=False,
        )
        self.put(
            "fiche_cache_prospects", fiche_cache_id=fiche, prospect_id="5501", nom="MARTEL", prenom="Odile"
        )
        self.put("fiche_cache_etiquettes", fiche_cache_id=fiche, etiquette_index=1, nom="Qualité confirmée")
        self.put("fiche_cache_raw_sections", fiche_cache_id=fiche, section_key="notes", section_value="texte")
        tarification = self.put("fiche_cache_tarifications", fiche_cache_id=fiche, row_index=1, nom="Santé")
        gamme = self.put(
            "fiche_cache_tarification_gammes", tarification_id=tarification, row_index=1, nom="Zen"
        )
        formule = self.put(
            "fiche_cache_tarification_formules",
            gamme_id=gamme,
            row_index=1,
            formule_id="1",
            nom="NIV2",
            prix="41,10",
        )
        self.put(
            "fiche_cache_tarification_formule_details",
            formule_row_id=formule,
            detail_key="Assuré",
            detail_value="41,10",
        )
        return fiche

    def call(self, fiche: int, call_id: str = "77001", **columns: Any) -> int:
        """A transcribed call with one chunk, in which `WORDS` are said."""
        recording = self.put(
            "recordings",
            **{
                "fiche_cache_id": fiche,
                "call_id": call_id,
                "recording_url": f"https://cdn.example.test/{call_id}.mp3",
                "start_time": "2026-01-05 08:14:00",
                "duration_seconds": 60,
                "transcription_text": WORDS,
                "has_transcription": True,
                "transcribed_at": "2026-01-05 09:00:00",
                **columns,
            },
        )
        self.put(
            "recording_transcription_chunks",
            recording_id=recording,
            chunk_index=0,
            start_timestamp=0.5,
            end_timestamp=8.25,
            message_count=1,
            speakers=["speaker_0"],
            full_text=f"speaker_0: {WORDS}",
        )
        return recording

    def audit(self, fiche: int, config: int, **columns: Any) -> int:
        return self.put(
            "audits",
            **{
                "fiche_cache_id": fiche,
                "audit_config_id": config,
                "status": "completed",
                "overall_score": "85.50",
                "score_percentage": "85.50",
                "niveau": "BON",
                "is_compliant": True,
                "critical_passed": 1,
                "critical_total": 1,
                "started_at": "2026-01-06 10:00:00",
                "completed_at": "2026-01-06 10:03:00",
                "created_at": "2026-01-06 10:00:00",
                **columns,
            },
        )

    def step(self, audit: int, position: int = 1, **columns: Any) -> None:
        self.put(
            "audit_step_results",
            **{
                "audit_id": audit,
                "step_position": position,
                "step_name": f"Étape {position}",
                "severity_level": "HIGH",
                "is_critical": position == 1,
                "weight": 5,
                "traite": True,
                "conforme": "CONFORME",
                "score": 4,
                "niveau_conformite": "BON",
                "created_at": "2026-01-06 10:02:00",
                **columns,
            },
        )

    def point(self, audit: int, position: int = 1, number: int = 1, **columns: Any) -> None:
        text = "Le conseiller se présente." if number == 1 else "Le client accepte le prélèvement."
        self.put(
            "audit_step_result_control_points",
            **{
                "audit_id": audit,
                "step_position": position,
                "control_point_index": number,
                "point": text,
                "statut": "PRESENT",
                "commentaire": "Dit au début.",
                **columns,
            },
        )

    def quote(self, audit: int, texte: str, position: int = 1, number: int = 1, index: int = 1) -> None:
        self.put(
            "audit_step_result_citations",
            audit_id=audit,
            step_position=position,
            control_point_index=number,
            citation_index=index,
            texte=texte,
            minutage="00:03",
            minutage_secondes=3.0,
            speaker="speaker_1",
            recording_index=0,
            chunk_index=0,
            recording_date="05/01/2026",
            recording_time="08:14",
            recording_url="N/A",
        )

    def judged(self, fiche: int, config: int, **columns: Any) -> int:
        """An audit of two steps, with a quote that was said and one that was not."""
        audit = self.audit(fiche, config, **columns)
        for position in (1, 2):
            self.step(audit, position)
            for number in (1, 2):
                self.point(audit, position, number)
        self.quote(audit, "je suis Inès votre conseillère du cabinet Alpha")
        self.quote(audit, "Vous pourrez résilier quand vous voudrez sans aucun frais", number=2)
        return audit
