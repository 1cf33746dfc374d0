CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE shop_order (id INTEGER PRIMARY KEY, customer INTEGER NOT NULL, cents INTEGER NOT NULL, paid INTEGER NOT NULL);
INSERT INTO customer VALUES (1, 'Ada'), (2, 'Bob');
INSERT INTO shop_order VALUES (1, 1, 1999, 1), (2, 2, 250, 1), (3, 1, 5, 0), (4, 1, 1, 1);
