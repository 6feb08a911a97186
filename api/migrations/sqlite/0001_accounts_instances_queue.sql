-- People who may use the API. What ends in _key is the text beside it in lower case: two that differ in case only are the same.
CREATE TABLE enlace_users (
    id            TEXT    NOT NULL PRIMARY KEY,
    name          TEXT    NOT NULL,
    name_key      TEXT    NOT NULL UNIQUE,
    -- Argon2id, as a PHC string.
    password_hash TEXT    NOT NULL,
    administrator INTEGER NOT NULL,
    -- Digits in international format.
    phone_number  TEXT UNIQUE,
    email         TEXT,
    email_key     TEXT UNIQUE,
    display_name  TEXT,
    -- Milliseconds since 1970, as everywhere here.
    created_at    INTEGER NOT NULL
);

-- What opens the API for them. The value itself is stored nowhere.
CREATE TABLE enlace_tokens (
    id           TEXT    NOT NULL PRIMARY KEY,
    user_id      TEXT    NOT NULL REFERENCES enlace_users (id) ON DELETE CASCADE,
    name         TEXT    NOT NULL,
    -- SHA-256 of the value, in hexadecimal.
    hash         TEXT    NOT NULL UNIQUE,
    -- A JSON list of {key, uid}. Null: every device of the user.
    devices      TEXT,
    -- A JSON list of actions. Null: every action of the user.
    actions      TEXT,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    last_used_at INTEGER
);

CREATE INDEX enlace_tokens_by_user ON enlace_tokens (user_id, id);

-- The names by which callers of the Spanish-language API know devices. Case matters.
CREATE TABLE enlace_instances (
    instance_id      TEXT    NOT NULL PRIMARY KEY,
    device_namespace TEXT    NOT NULL,
    device_name      TEXT    NOT NULL,
    -- Null until the device is known.
    device_uid       TEXT,
    user_id          TEXT    NOT NULL REFERENCES enlace_users (id) ON DELETE CASCADE,
    created_at       INTEGER NOT NULL,
    UNIQUE (device_namespace, device_name)
);

CREATE INDEX enlace_instances_by_user ON enlace_instances (user_id, instance_id);

-- Numbers of messages for that API. A number is never given twice.
CREATE TABLE enlace_queue (
    id               INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    user_id          TEXT    NOT NULL REFERENCES enlace_users (id) ON DELETE CASCADE,
    device_namespace TEXT    NOT NULL,
    device_name      TEXT    NOT NULL,
    message_id       TEXT    NOT NULL,
    created_at       INTEGER NOT NULL
);

CREATE INDEX enlace_queue_by_user ON enlace_queue (user_id);
CREATE INDEX enlace_queue_by_time ON enlace_queue (created_at, id);
