-- What is remembered of the device itself: one JSON value for each name.
CREATE TABLE memory (
    name  TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT;

-- Messages that go out. Times are milliseconds since 1970. `content` and `media` are emptied when WhatsApp has accepted the message.
CREATE TABLE outbox (
    sequence        INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT    NOT NULL UNIQUE,
    idempotency_key TEXT    UNIQUE,
    fingerprint     BLOB    NOT NULL,
    recipient       TEXT    NOT NULL,
    jid             TEXT,
    kind            TEXT    NOT NULL,
    content         TEXT,
    media           BLOB,
    state           TEXT    NOT NULL CHECK (state IN ('queued', 'sending', 'sent', 'delivered', 'read', 'failed')),
    error_reason    TEXT,
    error_message   TEXT,
    created_at      INTEGER NOT NULL,
    sent_at         INTEGER,
    updated_at      INTEGER NOT NULL
) STRICT;

CREATE INDEX outbox_waiting ON outbox (sequence) WHERE state IN ('queued', 'sending');
CREATE INDEX outbox_updated ON outbox (updated_at);

-- Messages that came in, in the order in which they were stored; `sequence` has no gaps.
CREATE TABLE inbox (
    sequence      INTEGER PRIMARY KEY,
    chat          TEXT    NOT NULL,
    sender        TEXT    NOT NULL,
    id            TEXT    NOT NULL,
    sender_number TEXT,
    push_name     TEXT,
    from_me       INTEGER NOT NULL,
    is_group      INTEGER NOT NULL,
    kind          TEXT    NOT NULL,
    text          TEXT,
    mime_type     TEXT,
    file_name     TEXT,
    file_size     INTEGER,
    -- The protocol's message, kept while it tells where its file is and how it is decrypted.
    download      BLOB,
    timestamp     INTEGER NOT NULL,
    received_at   INTEGER NOT NULL,
    UNIQUE (chat, sender, id)
) STRICT;

CREATE INDEX inbox_received ON inbox (received_at);
