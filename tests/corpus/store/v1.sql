-- What drover 0.1.0 writes: one table of documents a kind, and the ids that
-- were reserved.
CREATE TABLE instances (id INTEGER PRIMARY KEY, key TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE migrations (id INTEGER PRIMARY KEY, key TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE operations (id INTEGER PRIMARY KEY, key TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE ids (name TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT;
INSERT INTO instances VALUES (3, '7d3cf35f-52d3-4a42-8f70-4bb5a1d3dc1a', '{"nova_object.name":"Instance","nova_object.version":"2.7"}');
INSERT INTO instances VALUES (4, '0b9a4a5c-7f0e-4f06-9d5a-8f7f2b0f3c11', '{"nova_object.name":"Instance","nova_object.version":"2.7"}');
INSERT INTO migrations VALUES (1, '5a0c2a2e-0b3a-4b1e-8a44-3c1f6a1f7d10', '{"nova_object.name":"Migration","nova_object.version":"1.7"}');
INSERT INTO operations VALUES (9, '5a0c2a2e-0b3a-4b1e-8a44-3c1f6a1f7d10', '{"type":"live-migration","status":"open","step":"transfer","direction":"run","committed":false}');
INSERT INTO ids VALUES ('instances', 65);
INSERT INTO ids VALUES ('migrations', 65);
INSERT INTO ids VALUES ('operations', 73);
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
