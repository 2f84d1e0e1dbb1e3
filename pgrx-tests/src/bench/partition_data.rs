//! The data of the partition suites: the chats and messages of the published article at three sizes, the partitioned
//! tables that they go to, and how the others load them.

/// How many of the article's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Days with chats; messages follow for one more.
    pub days: u32,
    /// Minutes between two chats.
    pub minutes: u32,
}

impl Size {
    /// As published: 1,037,520 messages of 31 days.
    pub const ONE: Self = Self { days: 30, minutes: 60 };
    /// Ten times the rows of each day.
    pub const TEN_ROWS: Self = Self { days: 30, minutes: 6 };
    /// Ten times the days.
    pub const TEN_DAYS: Self = Self { days: 300, minutes: 60 };
}

/// The two tables as an application has them: a chat each so often, a message a minute for a day after; keys, the index
/// on the time and the foreign key are made when the rows are in.
pub fn source(size: Size) -> Vec<String> {
    let Size { days, minutes } = size;
    [
        "CREATE TABLE public.chats (id bigserial, created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (id))",
        &format!(
            "INSERT INTO public.chats (created_at) SELECT generate_series(timestamptz '2022-01-01 00:00Z',
                 timestamptz '2022-01-01 00:00Z' + interval '{days} days' - interval '1 minute', interval '{minutes} minutes')"
        ),
        "CREATE TABLE public.chat_messages (id bigserial, created_at timestamptz NOT NULL, chat_id bigint NOT NULL,
             chat_created_at timestamptz NOT NULL, message text NOT NULL)",
        "INSERT INTO public.chat_messages (created_at, chat_id, chat_created_at, message)
             SELECT at, c.id, c.created_at,
                    (ARRAY['hello', 'goodbye', 'I would like a sandwich please'])[1 + (hashint8(c.id + extract(minute FROM at)::int) & 1023) % 3]
             FROM public.chats AS c, generate_series(c.created_at, c.created_at + interval '1 day', interval '1 minute') AS at",
        "ALTER TABLE public.chat_messages ADD PRIMARY KEY (id)",
        "ALTER TABLE public.chat_messages ADD FOREIGN KEY (chat_id) REFERENCES public.chats (id)",
        "CREATE INDEX ON public.chats (created_at)",
        "CREATE INDEX ON public.chat_messages (created_at)",
        "VACUUM ANALYZE",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The partitioned tables, anew and empty, without partitions.
pub fn parents() -> Vec<String> {
    [
        "DROP SCHEMA IF EXISTS app CASCADE",
        "CREATE SCHEMA app",
        "CREATE TABLE app.chats (id bigserial, created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (id, created_at))
             PARTITION BY RANGE (created_at)",
        "CREATE INDEX chats_created_at ON app.chats (created_at)",
        "CREATE TABLE app.chat_messages (id bigserial, created_at timestamptz NOT NULL, chat_id bigint NOT NULL,
             chat_created_at timestamptz NOT NULL, message text NOT NULL, PRIMARY KEY (id, created_at),
             FOREIGN KEY (chat_id, chat_created_at) REFERENCES app.chats (id, created_at)) PARTITION BY RANGE (created_at)",
        "CREATE INDEX chat_messages_created_at ON app.chat_messages (created_at)",
        "CREATE INDEX chat_messages_chat_id_chat_created_at ON app.chat_messages (chat_id, chat_created_at)",
        "CHECKPOINT",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The call that copies a table, with what was written meanwhile captured.
pub fn backfill(table: &str) -> String {
    format!("CALL eventkit.backfill('public.{table}', 'app.{table}')")
}

/// The same by a session and one worker.
pub fn backfill_by_two(table: &str) -> String {
    format!("CALL eventkit.backfill('public.{table}', 'app.{table}', jobs => 2)")
}

/// The call that ends it.
pub fn finish(table: &str) -> String {
    format!("CALL eventkit.finish_backfill('public.{table}', 'app.{table}')")
}

/// A query that is true when a table holds the messages of the source, whatever is written of later years: their number and sums.
pub fn same_rows(table: &str) -> String {
    let sums = |table: &str| {
        format!(
            "(SELECT ROW(count(*), sum(id), sum(chat_id), sum(date_part('epoch', created_at)::bigint), sum(length(message)))
              FROM {table} WHERE created_at < '2023-01-01 00:00Z')"
        )
    };
    format!("SELECT {} = {}", sums("public.chat_messages"), sums(table))
}

/// One table with the same columns, key and indexes, loaded at once: what any way of loading has to pay.
pub fn one_table() -> Vec<String> {
    [
        "CREATE TABLE app.one (LIKE app.chat_messages)",
        "INSERT INTO app.one (id, created_at, chat_id, chat_created_at, message)
             SELECT id, created_at, chat_id, chat_created_at, message FROM public.chat_messages",
        "ALTER TABLE app.one ADD PRIMARY KEY (id, created_at)",
        "CREATE INDEX ON app.one (created_at)",
        "CREATE INDEX ON app.one (chat_id, chat_created_at)",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// What a careful hand writes for the messages: for each day, newest first, a bare table with its CHECK, the rows by the
/// key's own range and in its order, the indexes, attach, COMMIT. The foreign key is left to the attach; nothing is
/// verified, captured, analyzed or noted.
pub fn by_hand() -> String {
    "CREATE PROCEDURE hand_load() LANGUAGE plpgsql AS $$
     DECLARE
       day date;
       part text;
       bounds text;
     BEGIN
       FOR day IN SELECT d FROM generate_series((SELECT max(created_at)::date FROM public.chat_messages),
                                                (SELECT min(created_at)::date FROM public.chat_messages), interval '-1 day') AS d LOOP
         part := 'messages_' || to_char(day, 'YYYYMMDD');
         bounds := format('created_at >= %L::timestamptz AND created_at < %L::timestamptz', day::timestamptz, (day + 1)::timestamptz);
         EXECUTE format('CREATE TABLE app.%I (LIKE app.chat_messages INCLUDING DEFAULTS, CONSTRAINT bound CHECK (%s))', part, bounds);
         EXECUTE format('INSERT INTO app.%I (id, created_at, chat_id, chat_created_at, message)
                         SELECT id, created_at, chat_id, chat_created_at, message FROM public.chat_messages WHERE %s ORDER BY created_at', part, bounds);
         EXECUTE format('ALTER TABLE app.%I ADD PRIMARY KEY (id, created_at)', part);
         EXECUTE format('CREATE INDEX ON app.%I (created_at)', part);
         EXECUTE format('CREATE INDEX ON app.%I (chat_id, chat_created_at)', part);
         EXECUTE format('ALTER TABLE app.chat_messages ATTACH PARTITION app.%I FOR VALUES FROM (%L) TO (%L)', part, day::timestamptz, (day + 1)::timestamptz);
         EXECUTE format('ALTER TABLE app.%I DROP CONSTRAINT bound', part);
         COMMIT;
       END LOOP;
     END $$"
        .to_owned()
}

/// The article's method in our words: for each day, newest first, a table like the parent, the rows whose time cast to a
/// date is that day, key, CHECK with constants of type date, indexes, attach, index attached, CHECK dropped, COMMIT.
pub fn article() -> String {
    "CREATE PROCEDURE article_load(tab text, columns text) LANGUAGE plpgsql AS $$
     DECLARE
       day date;
       last date;
       first date;
       part text;
     BEGIN
       EXECUTE format('SELECT min(created_at)::date, max(created_at)::date FROM public.%I', tab) INTO first, last;
       FOR day IN SELECT d FROM generate_series(last, first, interval '-1 day') AS d LOOP
         part := tab || '_' || day;
         EXECUTE format('CREATE TABLE IF NOT EXISTS app.%I (LIKE app.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part, tab);
         EXECUTE format('INSERT INTO app.%I (%s) SELECT %2$s FROM public.%I WHERE created_at::date >= %L::date AND created_at::date < (%4$L::date + interval ''1 day'') ORDER BY created_at',
                        part, columns, tab, day);
         EXECUTE format('ALTER TABLE app.%I ADD PRIMARY KEY (id, created_at)', part);
         EXECUTE format('ALTER TABLE app.%I ADD CONSTRAINT %I CHECK (created_at >= DATE %L AND created_at < DATE %L)', part, part || '_range', day, day + 1);
         EXECUTE format('CREATE INDEX %I ON app.%I USING btree (created_at) WITH (fillfactor = 100)', part || '_created_at', part);
         IF tab = 'chat_messages' THEN
           EXECUTE format('CREATE INDEX %I ON app.%I USING btree (chat_id, chat_created_at) WITH (fillfactor = 100)', part || '_chat', part);
         END IF;
         EXECUTE format('ALTER TABLE app.%I ATTACH PARTITION app.%I FOR VALUES FROM (%L) TO (%L)', tab, part, day, day + 1);
         EXECUTE format('ALTER INDEX app.%I ATTACH PARTITION app.%I', tab || '_created_at', part || '_created_at');
         IF tab = 'chat_messages' THEN
           EXECUTE format('ALTER INDEX app.chat_messages_chat_id_chat_created_at ATTACH PARTITION app.%I', part || '_chat');
         END IF;
         EXECUTE format('ALTER TABLE app.%I DROP CONSTRAINT %I', part, part || '_range');
         COMMIT;
       END LOOP;
     END $$"
        .to_owned()
}

/// The call of it for the messages.
pub const ARTICLE_LOADS: &str =
    "CALL article_load('chat_messages', 'id, created_at, chat_id, chat_created_at, message')";

/// What pg_partman moves the messages from, and its settings: it empties its source, so that is a copy with
/// the same key and index; in another schema than the parent it would not find it.
pub fn partman_source() -> Vec<String> {
    vec![
        "CREATE TABLE app.moved AS SELECT * FROM public.chat_messages".to_owned(),
        "ALTER TABLE app.moved ADD PRIMARY KEY (id)".to_owned(),
        "CREATE INDEX ON app.moved (created_at)".to_owned(),
        "VACUUM ANALYZE app.moved".to_owned(),
        "DELETE FROM partman.part_config".to_owned(),
        "SELECT partman.create_parent('app.chat_messages', 'created_at', 'native', 'daily')".to_owned(),
        "CHECKPOINT".to_owned(),
    ]
}

/// The call that moves them, a day a transaction, without pauses.
pub const PARTMAN_MOVES: &str = "CALL partman.partition_data_proc('app.chat_messages', p_wait => 0, p_source_table => 'app.moved', p_quiet => true)";
