-- As in ../sqlite. COLLATE "C" compares bytes, as the other databases do here.
CREATE TABLE enlace_users (
    id            VARCHAR(36)  COLLATE "C" NOT NULL PRIMARY KEY,
    name          VARCHAR(255) NOT NULL,
    name_key      VARCHAR(255) COLLATE "C" NOT NULL UNIQUE,
    password_hash TEXT         NOT NULL,
    administrator SMALLINT     NOT NULL,
    phone_number  VARCHAR(20)  COLLATE "C" UNIQUE,
    email         VARCHAR(255),
    email_key     VARCHAR(255) COLLATE "C" UNIQUE,
    display_name  VARCHAR(255),
    created_at    BIGINT       NOT NULL
);

CREATE TABLE enlace_tokens (
    id           VARCHAR(36)  COLLATE "C" NOT NULL PRIMARY KEY,
    user_id      VARCHAR(36)  COLLATE "C" NOT NULL REFERENCES enlace_users (id) ON DELETE CASCADE,
    name         VARCHAR(255) NOT NULL,
    hash         VARCHAR(64)  COLLATE "C" NOT NULL UNIQUE,
    devices      TEXT,
    actions      TEXT,
    created_at   BIGINT       NOT NULL,
    expires_at   BIGINT,
    last_used_at BIGINT
);

CREATE INDEX enlace_tokens_by_user ON enlace_tokens (user_id, id);

CREATE TABLE enlace_instances (
    instance_id      VARCHAR(255) COLLATE "C" NOT NULL PRIMARY KEY,
    device_namespace VARCHAR(63)  COLLATE "C" NOT NULL,
    device_name      VARCHAR(63)  COLLATE "C" NOT NULL,
    device_uid       VARCHAR(64)  COLLATE "C",
    user_id          VARCHAR(36)  COLLATE "C" NOT NULL REFERENCES enlace_users (id) ON DELETE CASCADE,
    created_at       BIGINT       NOT NULL,
    UNIQUE (device_namespace, device_name)
);

CREATE INDEX enlace_instances_by_user ON enlace_instances (user_id, instance_id);

CREATE TABLE enlace_queue (
    id               BIGINT       GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id          VARCHAR(36)  COLLATE "C" NOT NULL REFERENCES enlace_users (id) ON DELETE CASCADE,
    device_namespace VARCHAR(63)  COLLATE "C" NOT NULL,
    device_name      VARCHAR(63)  COLLATE "C" NOT NULL,
    message_id       VARCHAR(255) COLLATE "C" NOT NULL,
    created_at       BIGINT       NOT NULL
);

CREATE INDEX enlace_queue_by_user ON enlace_queue (user_id);
CREATE INDEX enlace_queue_by_time ON enlace_queue (created_at, id);
