-- Rights of tuner_worker and tuner_reader, by table; run by tuner_owner after `tuner tables`, any number of times.
-- A worker can store values once, for a trial that has not ended, and can neither change nor delete them. A trial that
-- has ended keeps its state, parameters and attributes (its files may be removed to keep a quota). No study is renamed.
\set ON_ERROR_STOP on

BEGIN;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM tuner_worker, tuner_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO tuner_worker, tuner_reader;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO tuner_worker;

-- Locking a study needs UPDATE of one column; foreign keys of its directions and trials protect that number.
GRANT INSERT, UPDATE (study_id) ON studies TO tuner_worker;
GRANT INSERT, UPDATE (value_json) ON study_user_attributes, study_system_attributes TO tuner_worker;
GRANT INSERT ON study_directions TO tuner_worker;
GRANT INSERT, UPDATE (state, datetime_start, datetime_complete) ON trials TO tuner_worker;
GRANT INSERT ON trial_values TO tuner_worker;
GRANT INSERT, UPDATE (intermediate_value, intermediate_value_type) ON trial_intermediate_values TO tuner_worker;
-- Half-drawn parameters are deleted when a slot is run again.
GRANT INSERT, UPDATE (param_value, distribution_json), DELETE ON trial_params TO tuner_worker;
GRANT INSERT, UPDATE (value_json) ON trial_user_attributes TO tuner_worker;
GRANT INSERT, UPDATE (value_json), DELETE ON trial_system_attributes TO tuner_worker;

GRANT INSERT, UPDATE (beat, progress, suggested, ended, outcome, reason) ON tuner_attempts TO tuner_worker;
GRANT INSERT, UPDATE (budget) ON tuner_studies TO tuner_worker;
GRANT INSERT, UPDATE (after_trial, at_once) ON tuner_stops TO tuner_worker;
GRANT INSERT ON tuner_once, tuner_requests, tuner_rungs, tuner_identities TO tuner_worker;
GRANT INSERT, UPDATE (beat), DELETE ON tuner_workers TO tuner_worker;

-- Only read: alembic_version, version_info, tuner_meta, tuner_buried, trial_heartbeats.

-- Policies for rows, which do not apply to the owner.
CREATE OR REPLACE FUNCTION tuner_is_open(trial integer) RETURNS boolean LANGUAGE sql STABLE
SET search_path = public AS
$$ SELECT EXISTS (SELECT 1 FROM trials WHERE trial_id = trial AND state IN ('RUNNING', 'WAITING')) $$;

SELECT format('DROP POLICY IF EXISTS %I ON %I', policyname, tablename)
FROM pg_policies WHERE schemaname = 'public' AND policyname LIKE 'tuner\_%' \gexec

SELECT format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t),
       format('CREATE POLICY tuner_select ON %I FOR SELECT USING (true)', t)
FROM unnest(ARRAY['trials', 'trial_values', 'trial_params', 'trial_intermediate_values', 'trial_user_attributes',
                  'trial_system_attributes', 'study_system_attributes']) AS t \gexec

CREATE POLICY tuner_insert ON trials FOR INSERT WITH CHECK (state IN ('RUNNING', 'WAITING'));
CREATE POLICY tuner_update ON trials FOR UPDATE USING (state IN ('RUNNING', 'WAITING')) WITH CHECK (true);

SELECT format('CREATE POLICY tuner_insert ON %I FOR INSERT WITH CHECK (tuner_is_open(trial_id))', t),
       format('CREATE POLICY tuner_update ON %I FOR UPDATE USING (tuner_is_open(trial_id))', t),
       format('CREATE POLICY tuner_delete ON %I FOR DELETE USING (tuner_is_open(trial_id))', t)
FROM unnest(ARRAY['trial_values', 'trial_params', 'trial_intermediate_values', 'trial_user_attributes']) AS t \gexec

-- Entries, sizes and digests of files change with the files.
CREATE POLICY tuner_insert ON trial_system_attributes FOR INSERT
WITH CHECK (tuner_is_open(trial_id) OR key LIKE 'artifacts:%' OR key LIKE 'tuner:%');
CREATE POLICY tuner_update ON trial_system_attributes FOR UPDATE
USING (tuner_is_open(trial_id) OR key LIKE 'artifacts:%' OR key LIKE 'tuner:%');
CREATE POLICY tuner_delete ON trial_system_attributes FOR DELETE
USING (tuner_is_open(trial_id) OR key LIKE 'artifacts:%');

-- The description of a study is stored once.
CREATE POLICY tuner_insert ON study_system_attributes FOR INSERT WITH CHECK (true);
CREATE POLICY tuner_update ON study_system_attributes FOR UPDATE
USING (key NOT IN ('study:metric_names', 'tuner:identity', 'tuner:source', 'tuner:packages', 'tuner:texts'));
COMMIT;
