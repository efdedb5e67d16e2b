-- The original's database, as far as the contract describes it (spec/audits §12, fiches §2–4, automation §10, realtime §7).
-- Not every section table of a fiche is here: an import has to do without some.

create type "UserStatus" as enum ('ACTIVE', 'DISABLED', 'INVITED');
create type "PermissionScope" as enum ('SELF', 'GROUP', 'ALL');
create type "SeverityLevel" as enum ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL');

create table users (
  id bigserial primary key, email text unique not null, password_hash text,
  status "UserStatus" not null default 'ACTIVE', crm_user_id text unique, last_login_at timestamp(3),
  created_at timestamp(3) not null default now(), updated_at timestamp(3) not null default now());
create table roles (
  id bigserial primary key, key text unique not null, name text not null, description text,
  created_at timestamp(3) not null default now(), updated_at timestamp(3) not null default now());
create table permissions (
  id bigserial primary key, key text unique not null, description text,
  created_at timestamp(3) not null default now(), updated_at timestamp(3) not null default now());
create table user_roles (
  id bigserial primary key, user_id bigint not null references users on delete cascade,
  role_id bigint not null references roles on delete cascade, unique (user_id, role_id));
create table role_permissions (
  id bigserial primary key, role_id bigint not null references roles on delete cascade,
  permission_id bigint not null references permissions on delete cascade,
  can_read boolean not null default false, can_write boolean not null default false,
  scope "PermissionScope" not null default 'SELF', unique (role_id, permission_id));
create table refresh_tokens (
  id bigserial primary key, user_id bigint not null references users on delete cascade, token_hash text unique not null,
  expires_at timestamp(3) not null, created_at timestamp(3) not null default now());
create table teams (
  id bigserial primary key, crm_group_id text unique not null, name text not null,
  responsable_1 text, responsable_2 text, responsable_3 text,
  created_at timestamp(3) not null default now(), updated_at timestamp(3) not null default now());
create table user_teams (
  id bigserial primary key, user_id bigint not null references users on delete cascade,
  team_id bigint not null references teams on delete cascade, unique (user_id, team_id));

create table audit_configs (
  id bigserial primary key, name text not null, description text, system_prompt text,
  is_active boolean not null default true, run_automatically boolean not null default false, created_by text,
  created_at timestamp(3) not null default now(), updated_at timestamp(3) not null default now());
create table audit_steps (
  id bigserial primary key, audit_config_id bigint not null references audit_configs on delete cascade,
  name text not null, description text, prompt text, control_points text[] not null default '{}',
  keywords text[] not null default '{}', severity_level "SeverityLevel" not null, is_critical boolean not null default false,
  position int not null, chronological_important boolean not null default false, weight int not null default 5,
  verify_product_info boolean not null default false,
  created_at timestamp(3) not null default now(), updated_at timestamp(3) not null default now());

create table fiche_cache (
  id bigserial primary key, fiche_id text unique not null, groupe text, agence_nom text, prospect_nom text,
  prospect_prenom text, prospect_email text, prospect_tel text, sales_date text, cle text, details_success boolean,
  details_message text, raw_data jsonb not null default '{}', has_recordings boolean not null default false,
  recordings_count int, fetched_at timestamp(3) not null default now(), expires_at timestamp(3) not null,
  last_revalidated_at timestamp(3), created_at timestamp(3) not null default now(),
  updated_at timestamp(3) not null default now());
create table fiche_cache_information (
  id bigserial primary key, fiche_cache_id bigint unique not null references fiche_cache on delete cascade,
  cle text, date_insertion text, createur text, nombre_acces int, groupe text, agence_id text, agence_nom text,
  attribution_user_id text, attribution_user_nom text, refus_demarchage boolean, corbeille boolean, modules text[],
  created_at timestamp(3) not null default now(), updated_at timestamp(3) not null default now());
create table fiche_cache_prospects (
  id bigserial primary key, fiche_cache_id bigint unique not null references fiche_cache on delete cascade,
  prospect_id text, civilite int, civilite_text text, nom text, prenom text, date_naissance text, regime text,
  regime_text text, telephone text, mail text, madelin boolean,
  created_at timestamp(3) not null default now(), updated_at timestamp(3) not null default now());
create table fiche_cache_etiquettes (
  id bigserial primary key, fiche_cache_id bigint not null references fiche_cache on delete cascade,
  etiquette_index int not null, nom text, date text, style text, created_at timestamp(3) not null default now(),
  unique (fiche_cache_id, etiquette_index));
create table fiche_cache_mails (
  id bigserial primary key, fiche_cache_id bigint not null references fiche_cache on delete cascade,
  row_index int not null, date_envoi text, type_mail text, utilisateur text, visualisation_url text,
  created_at timestamp(3) not null default now(), unique (fiche_cache_id, row_index));
create table fiche_cache_raw_sections (
  id bigserial primary key, fiche_cache_id bigint not null references fiche_cache on delete cascade,
  section_key text not null, section_value text, created_at timestamp(3) not null default now(),
  unique (fiche_cache_id, section_key));
create table fiche_cache_tarifications (
  id bigserial primary key, fiche_cache_id bigint not null references fiche_cache on delete cascade,
  row_index int not null, nom text, created_at timestamp(3) not null default now());
create table fiche_cache_tarification_gammes (
  id bigserial primary key, tarification_id bigint not null references fiche_cache_tarifications on delete cascade,
  row_index int not null, nom text, logo_url text, created_at timestamp(3) not null default now());
create table fiche_cache_tarification_formules (
  id bigserial primary key, gamme_id bigint not null references fiche_cache_tarification_gammes on delete cascade,
  row_index int not null, formule_id text, nom text, prix text, created_at timestamp(3) not null default now());
create table fiche_cache_tarification_formule_details (
  id bigserial primary key,
  formule_row_id bigint not null references fiche_cache_tarification_formules on delete cascade,
  detail_key text not null, detail_value text, created_at timestamp(3) not null default now());

create table recordings (
  id bigserial primary key, fiche_cache_id bigint not null references fiche_cache on delete cascade,
  call_id text not null, recording_url text not null, recording_date text, recording_time text, from_number text,
  to_number text, uuid text, direction text, answered boolean, start_time timestamp(3), duration_seconds int,
  transcription_id text, transcription_text text, transcription_data jsonb, transcription_language_code text,
  transcription_language_probability double precision, has_transcription boolean not null default false,
  transcribed_at timestamp(3), created_at timestamp(3) not null default now(),
  updated_at timestamp(3) not null default now(), unique (fiche_cache_id, call_id));
create table recording_transcription_chunks (
  id bigserial primary key, recording_id bigint not null references recordings on delete cascade,
  chunk_index int not null, start_timestamp double precision not null, end_timestamp double precision not null,
  message_count int not null, speakers text[] not null, full_text text not null,
  created_at timestamp(3) not null default now(), unique (recording_id, chunk_index));

create table automation_schedules (
  id bigserial primary key, name text not null, description text, is_active boolean not null default true,
  schedule_type text not null, cron_expression text, timezone text not null default 'UTC', time_of_day text,
  fiche_selection_mode text not null default 'date_range', fiche_selection_groupes text[] not null default '{}',
  specific_audit_configs bigint[] not null default '{}', notify_emails text[] not null default '{}',
  external_api_key text, last_run_at timestamp(3), created_at timestamp(3) not null default now(),
  updated_at timestamp(3) not null default now());
create table automation_runs (
  id bigserial primary key, schedule_id bigint not null references automation_schedules on delete cascade,
  status text not null, started_at timestamp(3) not null default now(), completed_at timestamp(3),
  total_fiches int not null default 0, config_snapshot jsonb not null);
create table automation_run_fiche_results (
  id bigserial primary key, run_id bigint not null references automation_runs on delete cascade, fiche_id text not null,
  status text not null, error text, created_at timestamp(3) not null default now(), unique (run_id, fiche_id));

create table audits (
  id bigserial primary key, fiche_cache_id bigint not null references fiche_cache on delete restrict,
  audit_config_id bigint not null references audit_configs on delete restrict,
  automation_schedule_id bigint references automation_schedules on delete set null,
  automation_run_id bigint references automation_runs on delete set null,
  trigger_source text, trigger_user_id text, notes text, deleted_at timestamp(3),
  overall_score decimal(5,2) not null default 0, score_percentage decimal(5,2) not null default 0,
  niveau text not null default 'PENDING', is_compliant boolean not null default false,
  critical_passed int not null default 0, critical_total int not null default 0, status text not null default 'pending',
  started_at timestamp(3), completed_at timestamp(3), duration_ms int, error_message text, total_tokens int,
  successful_steps int, failed_steps int, recordings_count int, timeline_chunks int,
  result_data jsonb not null default '{}', version int not null default 1, is_latest boolean not null default true,
  created_at timestamp(3) not null default now(), updated_at timestamp(3) not null default now());
create table audit_step_results (
  id bigserial primary key, audit_id bigint not null references audits on delete cascade, step_position int not null,
  step_name text not null, severity_level text not null, is_critical boolean not null, weight int not null,
  traite boolean not null, conforme text not null, score int not null, niveau_conformite text not null,
  commentaire_global text not null default '', mots_cles_trouves text[] not null default '{}',
  minutages text[] not null default '{}', erreurs_transcription_tolerees int not null default 0,
  total_citations int not null default 0, total_tokens int not null default 0, raw_result jsonb not null default '{}',
  created_at timestamp(3) not null default now(), unique (audit_id, step_position));
create table audit_step_result_control_points (
  id bigserial primary key, audit_id bigint not null, step_position int not null, control_point_index int not null,
  point text not null, statut text not null, commentaire text not null default '', minutages text[] not null default '{}',
  erreur_transcription_notee boolean not null default false, variation_phonetique_utilisee text,
  created_at timestamp(3) not null default now(), updated_at timestamp(3) not null default now(),
  foreign key (audit_id, step_position) references audit_step_results (audit_id, step_position) on delete cascade,
  unique (audit_id, step_position, control_point_index));
create table audit_step_result_citations (
  id bigserial primary key, audit_id bigint not null, step_position int not null, control_point_index int not null,
  citation_index int not null, texte text not null, minutage text not null, minutage_secondes double precision not null,
  speaker text not null, recording_index int not null, chunk_index int not null, recording_date text not null,
  recording_time text not null, recording_url text not null, created_at timestamp(3) not null default now(),
  foreign key (audit_id, step_position, control_point_index) references audit_step_result_control_points
    (audit_id, step_position, control_point_index) on delete cascade,
  unique (audit_id, step_position, control_point_index, citation_index));
create table audit_step_result_human_reviews (
  id bigserial primary key, audit_id bigint not null, step_position int not null, kind text not null,
  control_point_index int, point text, reviewed_at timestamp(3) not null, reviewer text, reason text,
  previous_traite boolean, previous_conforme text, previous_score int, previous_niveau_conformite text,
  override_traite boolean, override_conforme text, override_score int, override_niveau_conformite text,
  previous_statut text, previous_commentaire text, override_statut text, override_commentaire text,
  foreign key (audit_id, step_position) references audit_step_results (audit_id, step_position) on delete cascade);
create table audit_step_result_rerun_events (
  id bigserial primary key, audit_id bigint not null, step_position int not null, kind text not null,
  control_point_index int, point text, occurred_at timestamp(3) not null, rerun_id text, event_id text, custom_prompt text,
  previous_score int, previous_conforme text, previous_total_citations int, previous_statut text,
  previous_commentaire text, previous_citations int, previous_step_score int, previous_step_conforme text,
  next_score int, next_conforme text, next_total_citations int, next_statut text, next_commentaire text,
  next_citations int, next_step_score int, next_step_conforme text,
  foreign key (audit_id, step_position) references audit_step_results (audit_id, step_position) on delete cascade);

create table chat_conversations (
  id bigserial primary key, fiche_id text not null, audit_id bigint, title text,
  created_at timestamp(3) not null default now());
