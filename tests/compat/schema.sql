-- The tables of the system whose API Enlace answers, as its code needs them: for tests that nothing in them changes.
CREATE TABLE usuarios (
  id INT AUTO_INCREMENT PRIMARY KEY,
  numero VARCHAR(20) UNIQUE,
  email VARCHAR(255) UNIQUE,
  password VARCHAR(255) NOT NULL,
  token VARCHAR(64) NOT NULL,
  nombre VARCHAR(255) NULL
);
CREATE TABLE dispositivos_whatsapp (
  id INT AUTO_INCREMENT PRIMARY KEY,
  numero VARCHAR(20) NULL,
  nombre VARCHAR(100) DEFAULT 'Dispositivo',
  estado ENUM('conectado','desconectado','conectando') DEFAULT 'desconectado',
  fecha_conexion TIMESTAMP NULL,
  fecha_desconexion TIMESTAMP NULL,
  ultima_actividad TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  instancia_id VARCHAR(255) UNIQUE,
  qr_code TEXT,
  usuario_id INT NULL,
  created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP
);
CREATE TABLE cola_mensajes (
  id INT AUTO_INCREMENT PRIMARY KEY,
  instancia_id VARCHAR(255),
  numero_destino VARCHAR(50),
  mensaje TEXT,
  tipo VARCHAR(20),
  media_url LONGTEXT,
  filename VARCHAR(255) NULL,
  mimetype VARCHAR(100) NULL,
  caption TEXT,
  from_number VARCHAR(255),
  estado VARCHAR(20) DEFAULT 'pendiente',
  error TEXT,
  created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP
);
