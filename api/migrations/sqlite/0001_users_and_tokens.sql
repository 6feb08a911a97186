-- People who may use the API.
CREATE TABLE enlace_users (
    id            TEXT    NOT NULL PRIMARY KEY,
    name          TEXT    NOT NULL UNIQUE,
    -- Argon2id, as a PHC string.
    password_hash TEXT    NOT NULL,
    administrator INTEGER NOT NULL,
    -- Milliseconds since 1970.
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
