"""However many audits there are, an import holds one batch of them."""

import gc
from collections.abc import Awaitable, Callable

from old_database import OldDatabase

from conforme.legacy.importing import Step, Wish
from conforme.legacy.mapping_audits import OldAudit
from conforme.legacy.report import Report

Import = Callable[..., Awaitable[Report]]
AUDITS = 2_000
BATCH = 100
FILLED = """
insert into audits (fiche_cache_id, audit_config_id, status, niveau, score_percentage, completed_at, result_data)
select 1 + n % 4, 1, 'completed', 'BON', 80, now() + interval '1 minute',
       jsonb_build_object('audit_tracking_id', 'audit-' || n, 'padding', repeat('x', 4000))
from generate_series(1, 2000) n;
insert into audit_step_results
  (audit_id, step_position, step_name, severity_level, is_critical, weight, traite, conforme, score, niveau_conformite)
select id, 1, 'Étape 1', 'HIGH', true, 5, true, 'CONFORME', 4, 'BON' from audits;
insert into audit_step_result_control_points (audit_id, step_position, control_point_index, point, statut)
select id, 1, 1, 'Le conseiller se présente.', 'PRESENT' from audits;
insert into audit_step_result_citations
  (audit_id, step_position, control_point_index, citation_index, texte, minutage, minutage_secondes, speaker,
   recording_index, chunk_index, recording_date, recording_time, recording_url)
select id, 1, 1, 1, 'je suis Inès votre conseillère du cabinet Alpha', '00:01', 1, 'speaker_0', 0, 0, 'N/A', 'N/A', 'N/A'
from audits;
"""


class Watch:
    """Looks, after every batch, how many audits are in memory, and how many objects of any kind."""

    def __init__(self) -> None:
        self.objects: list[int] = []
        self.audits: list[int] = []

    def __call__(self, step: Step) -> None:
        if step.kind == "audits" and step.done % (2 * BATCH) == 0:
            gc.collect()
            there = gc.get_objects()
            self.objects.append(len(there))
            self.audits.append(sum(isinstance(each, OldAudit) for each in there))


async def test_two_thousand_audits_take_no_more_memory_than_a_batch(old: OldDatabase, bring: Import) -> None:
    config = old.config(steps=1)
    for number in range(4):
        old.call(old.fiche(str(900_101 + number)))
    assert config == 1
    old.run(FILLED)
    watch = Watch()
    gc.collect()
    gc.freeze()  # what was there before is not looked at
    try:
        report = await bring(Wish(batch=BATCH), watch)
    finally:
        gc.unfreeze()
    assert report.kinds["audits"].imported == AUDITS
    assert len(watch.audits) == AUDITS // BATCH // 2 + 1
    assert max(watch.audits) <= BATCH
    middle, end = watch.objects[AUDITS // BATCH // 4], watch.objects[-1]
    assert end - middle < AUDITS
    assert report.notes["Quotes found in the transcripts"] == AUDITS
