-- Roles of a tuner database: the owner creates the tables, workers write to them, readers only read them.
-- Run once, by a superuser; the passwords come from the environment and are not logged:
--   psql --dbname tuner --file roles.sql
-- Then `tuner tables` and grants.sql, both as tuner_owner.
\set ON_ERROR_STOP on
\getenv owner_password TUNER_OWNER_PASSWORD
\getenv worker_password TUNER_WORKER_PASSWORD
\getenv reader_password TUNER_READER_PASSWORD

BEGIN;
SET LOCAL log_statement = 'none';
SET LOCAL log_min_duration_statement = -1;
SET LOCAL log_min_error_statement = panic;
SET LOCAL password_encryption = 'scram-sha-256';

CREATE ROLE tuner_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'owner_password';
CREATE ROLE tuner_worker LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'worker_password';
CREATE ROLE tuner_reader LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'reader_password';

REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"DBNAME" TO tuner_owner, tuner_worker, tuner_reader;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO tuner_owner;
GRANT USAGE ON SCHEMA public TO tuner_worker, tuner_reader;
COMMIT;
