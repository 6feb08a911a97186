-- As in ../sqlite. The collation compares bytes, blanks at the end among them; MariaDB and MySQL have different names for it, and each
-- reads only its own comment.
CREATE TABLE enlace_users (
    id            VARCHAR(36)  NOT NULL PRIMARY KEY,
    name          VARCHAR(255) NOT NULL,
    name_key      VARCHAR(255) NOT NULL,
    password_hash TEXT         NOT NULL,
    administrator SMALLINT     NOT NULL,
    phone_number  VARCHAR(20),
    email         VARCHAR(255),
    email_key     VARCHAR(255),
    display_name  VARCHAR(255),
    created_at    BIGINT       NOT NULL,
    UNIQUE KEY enlace_users_by_name (name_key),
    UNIQUE KEY enlace_users_by_phone_number (phone_number),
    UNIQUE KEY enlace_users_by_email (email_key)
) ENGINE = InnoDB CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */;

CREATE TABLE enlace_tokens (
    id           VARCHAR(36)  NOT NULL PRIMARY KEY,
    user_id      VARCHAR(36)  NOT NULL,
    name         VARCHAR(255) NOT NULL,
    hash         VARCHAR(64)  NOT NULL,
    -- TEXT would end at 64 KiB.
    devices      MEDIUMTEXT,
    actions      TEXT,
    created_at   BIGINT       NOT NULL,
    expires_at   BIGINT,
    last_used_at BIGINT,
    UNIQUE KEY enlace_tokens_by_hash (hash),
    KEY enlace_tokens_by_user (user_id, id),
    FOREIGN KEY (user_id) REFERENCES enlace_users (id) ON DELETE CASCADE
) ENGINE = InnoDB CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */;

CREATE TABLE enlace_instances (
    instance_id      VARCHAR(255) NOT NULL PRIMARY KEY,
    device_namespace VARCHAR(63)  NOT NULL,
    device_name      VARCHAR(63)  NOT NULL,
    device_uid       VARCHAR(64),
    user_id          VARCHAR(36)  NOT NULL,
    created_at       BIGINT       NOT NULL,
    UNIQUE KEY enlace_instances_by_device (device_namespace, device_name),
    KEY enlace_instances_by_user (user_id, instance_id),
    FOREIGN KEY (user_id) REFERENCES enlace_users (id) ON DELETE CASCADE
) ENGINE = InnoDB CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */;

CREATE TABLE enlace_queue (
    id               BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id          VARCHAR(36)  NOT NULL,
    device_namespace VARCHAR(63)  NOT NULL,
    device_name      VARCHAR(63)  NOT NULL,
    message_id       VARCHAR(255) NOT NULL,
    created_at       BIGINT       NOT NULL,
    KEY enlace_queue_by_user (user_id),
    KEY enlace_queue_by_time (created_at, id),
    FOREIGN KEY (user_id) REFERENCES enlace_users (id) ON DELETE CASCADE
) ENGINE = InnoDB CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */;
