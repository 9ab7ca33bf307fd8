-- What tuner_worker and tuner_reader may do, table by table; by tuner_owner, after `tuner tables`, as often as wanted.
-- A worker can delete no study and no trial, and change no table.
\set ON_ERROR_STOP on

BEGIN;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO tuner_worker, tuner_reader;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO tuner_worker;

-- UPDATE on studies is what the lock of a study needs.
GRANT INSERT, UPDATE ON studies, study_user_attributes, study_system_attributes TO tuner_worker;
GRANT INSERT ON study_directions TO tuner_worker;
GRANT INSERT, UPDATE ON trials, trial_intermediate_values TO tuner_worker;
-- A slot that is run again starts without half-drawn parameters and old attributes.
GRANT INSERT, UPDATE, DELETE ON trial_params, trial_values, trial_user_attributes, trial_system_attributes
TO tuner_worker;

GRANT INSERT, UPDATE ON tuner_attempts, tuner_studies, tuner_stops TO tuner_worker;
GRANT INSERT ON tuner_once, tuner_requests, tuner_rungs TO tuner_worker;
GRANT INSERT, UPDATE, DELETE ON tuner_workers TO tuner_worker;

-- Only read: alembic_version, version_info, tuner_meta, trial_heartbeats.
COMMIT;
