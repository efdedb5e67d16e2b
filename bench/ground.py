"""A database of 100 000 audits with 1.8 million rows of steps, filled by SQL in a minute or two.

`python -m bench.ground postgresql://…` fills an empty, migrated database of one's own.
"""

import asyncio
import sys

from sqlalchemy import text

from bench.rig import rubric
from conforme.audit_configs.revisions import revision_for_run
from conforme.audit_configs.service import import_rules
from conforme.foundation.database import Database

FICHES, GROUPES, AGENCES, ADVISORS, CONFIGURATIONS, STEPS = 20_000, 40, 60, 200, 5, 18
AUDITS = FICHES * CONFIGURATIONS

FILL_FICHES = f"""
insert into fiche_cache (fiche_id, groupe, agence_nom, attribution_user_id, prospect_nom, prospect_prenom,
                         prospect_email, prospect_tel, sales_date, raw_data, details_success, details_fetched_at,
                         fetched_at, last_revalidated_at, expires_at, recordings_count, has_recordings)
select (4000000 + n)::text, 'EQUIPE ' || (n * 7919 % {ADVISORS} % {GROUPES}), (n % {AGENCES}) || '-VILLE ' || (n % 7),
       (n * 7919 % {ADVISORS})::text, 'MARTEL' || (n % 997), 'Odile' || (n % 131),
       'odile' || n || '@example.test', '01990' || lpad(n::text, 5, '0'),
       (date '2026-01-01' + (n % 250))::text, jsonb_build_object('told', repeat('x', 600)), true,
       now() - n * interval '1 minute', now() - n * interval '1 minute', now() - n * interval '30 seconds',
       now() + interval '9 days', n % 4, n % 4 > 0
  from generate_series(1, {FICHES}) n
"""  # noqa: S608 -- numbers of our own
FILL_AUDITS = """
insert into audits (tracking_id, job_id, fiche_id, fiche_cache_id, audit_config_id, config_revision_id, requested_by,
                    trigger_source, automation_schedule_id, automation_run_id, status, niveau, is_compliant,
                    overall_score, score_percentage, critical_passed, critical_total, started_at, completed_at,
                    duration_ms, error_message, total_tokens, successful_steps, failed_steps, recordings_count,
                    result_data, created_at)
select 'audit-' || n, 'audit-' || n, fiche_id, fiche_cache_id, audit_config_id, revision_id, 'bench',
       (array['api', 'batch', 'automation'])[1 + n % 3], case when n % 3 = 2 then 1 + n % 9 end,
       case when n % 3 = 2 then 1 + n % 997 end,
       case when failed then 'failed' else 'completed' end, case when failed then 'PENDING' else niveau end,
       not failed and niveau <> 'REJET', score, score, 3, 4, at, at + interval '70 seconds', 60000 + n % 30000,
       case when failed then 'Steps not analysed: 4 (the model did not answer)' end, 40000 + n % 9000,
       case when failed then 17 else 18 end, case when failed then 1 else 0 end, 2,
       jsonb_build_object('told', repeat('x', 900)), at
  from (select *, n % 31 = 0 as failed, (n * 31 % 1001)::numeric / 10 as score,
               (array['EXCELLENT', 'BON', 'ACCEPTABLE', 'INSUFFISANT', 'REJET'])[1 + n % 5] as niveau,
               timestamptz '2026-01-01' + n * interval '3 minutes' as at
          from (select f.fiche_id, f.id as fiche_cache_id, r.audit_config_id, r.id as revision_id,
                       row_number() over (order by hashint8(f.id * 1000 + r.id)) as n
                  from fiche_cache f cross join audit_config_revisions r) shuffled) told
 order by n
"""
FILL_STEPS = f"""
insert into audit_step_results (audit_id, step_position, step_name, severity_level, is_critical, weight, traite,
                                conforme, score, niveau_conformite, commentaire_global, total_tokens, raw_result)
select id, position, 'Étape ' || position, 'HIGH', position % 5 = 0, 5, true, 'CONFORME', 5, 'EXCELLENT',
       'Dit au début de l''appel.', 2000, jsonb_build_object('step_metadata', jsonb_build_object('position', position))
  from audits cross join generate_series(1, {STEPS}) position
"""  # noqa: S608 -- numbers of our own


async def fill(database: Database) -> None:
    """Fills an empty database; its statistics and its visibility map are those of a database at rest."""
    async with database.write() as session:
        for number in range(CONFIGURATIONS):
            rules = rubric().model_copy(update={"name": f"Grille {number}"})
            imported = await import_rules(session, rules, created_by="bench")
            await revision_for_run(session, imported.id)
        await session.execute(text(FILL_FICHES))
        await session.execute(text(FILL_AUDITS))
    async with database.write() as session:
        await session.execute(
            text("set local session_replication_role = replica")
        )  # rows that fit: not checked
        await session.execute(text(FILL_STEPS))
    async with database.engine.connect() as connection:
        plain = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await plain.execute(text("vacuum analyze"))


async def _main(url: str) -> None:
    database = Database(url, pool_size=1)
    await fill(database)
    await database.dispose()
    print(f"{AUDITS} audits of {FICHES} fiches, {AUDITS * STEPS} rows of steps")


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
