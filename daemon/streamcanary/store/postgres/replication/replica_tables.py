"""The tables that replicas share the work with, in PostgreSQL only."""

from typing import Final

from streamcanary.model.replicas import RESOURCES

_FREE_LEASES = ", ".join(f"('{resource}', NULL, 0)" for resource in RESOURCES)

CREATE_TABLES: Final = (
    """
    CREATE TABLE replicas (           -- one row for each life of a replica
        session bigserial PRIMARY KEY,
        name text NOT NULL,
        address text NOT NULL,
        generation bigint NOT NULL,
        config text NOT NULL,         -- a digest
        joined timestamptz NOT NULL,
        expires timestamptz NOT NULL,
        draining boolean NOT NULL DEFAULT false,
        fenced boolean NOT NULL DEFAULT false -- ended
    );

    CREATE TABLE leases (
        resource text COLLATE "C" PRIMARY KEY,
        session bigint,               -- of the owner, if it has one; it may have ended
        epoch bigint NOT NULL         -- grows with each owner; 0 before the first
    );

    CREATE TABLE pending_inputs (     -- of alerting: its owner deletes them as it commits their effect
        id bigserial PRIMARY KEY,
        run_id text COLLATE "C" UNIQUE,
        kind text NOT NULL,
        value bytea NOT NULL
    );

    CREATE TABLE replica_spend (      -- of live sessions; added to the spend of the day when one ends
        session bigint NOT NULL,
        day text COLLATE "C" NOT NULL,
        input_tokens bigint NOT NULL,
        output_tokens bigint NOT NULL,
        input_usd double precision NOT NULL,
        output_usd double precision NOT NULL,
        requests bigint NOT NULL,
        PRIMARY KEY (session, day)
    );

    CREATE TABLE alert_revision (revision bigint NOT NULL);
    INSERT INTO alert_revision VALUES (0);

    INSERT INTO leases VALUES """  # noqa: S608 - fixed names
    + _FREE_LEASES
    + ";"
)
