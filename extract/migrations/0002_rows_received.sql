-- What came in an answer: when its first and its last row begin. NULL in answers that were loaded before.
alter table raw_polygon.responses add column if not exists first_row_at timestamptz;
alter table raw_polygon.responses add column if not exists last_row_at timestamptz;
alter table raw_binance.responses add column if not exists first_row_at timestamptz;
alter table raw_binance.responses add column if not exists last_row_at timestamptz;
alter table raw_yahoo.responses add column if not exists first_row_at timestamptz;
alter table raw_yahoo.responses add column if not exists last_row_at timestamptz;
alter table raw_coinmetrics.responses add column if not exists first_row_at timestamptz;
alter table raw_coinmetrics.responses add column if not exists last_row_at timestamptz;
