-- Sequences and sessions: which order of events a user shows, how often and when, and how visits group into sessions.
-- Play it in an empty database: psql -f 07_sequences_and_sessions.sql

CREATE EXTENSION IF NOT EXISTS pg_eventkit CASCADE;

-- 300 users, six clicks each. Every other one searches again right after a search, one in three buys at last.
CREATE TABLE clicks (user_id int NOT NULL, at timestamptz NOT NULL, event text NOT NULL);
INSERT INTO clicks
SELECT n, timestamptz '2024-03-01 09:00+00' + n * interval '1 min' + minute * interval '1 min', event
FROM generate_series(1, 300) AS n, LATERAL (
    VALUES (0, 'search'), (CASE WHEN n % 2 = 0 THEN 2 ELSE 50 END, 'search'), (60, 'view'), (65, 'view'), (130, 'search'),
           (140, CASE WHEN n % 3 = 0 THEN 'buy' ELSE 'view' END)) AS c (minute, event);

-- Who searched again within ten minutes, whatever lay between? And who with nothing between? A row that meets none of
-- the conditions given is not there, so what must not lie between has to be a condition too.
SELECT count(*) FILTER (WHERE again) AS again, count(*) FILTER (WHERE next) AS next
FROM (SELECT eventkit.sequence_match('(?1)(?t<=600)(?1)', at, event = 'search') AS again,
             eventkit.sequence_match('(?1)(?1)', at, event = 'search', event <> 'search') AS next
      FROM clicks GROUP BY user_id) AS users;

-- How often a search led to a view, and when the last search before buying was.
SELECT user_id, eventkit.sequence_count('(?1).*(?2)', at, event = 'search', event = 'view') AS searched_and_viewed,
       eventkit.sequence_events('(?1)(?2)', at, event = 'search', event = 'buy', event = 'view') AS search_and_buy
FROM clicks GROUP BY user_id ORDER BY user_id LIMIT 4;

-- Sessions end after half an hour without a click: the number of each click's session.
SELECT user_id, at, event, eventkit.sessionize(at, '30 minutes') OVER (PARTITION BY user_id ORDER BY at) AS session
FROM clicks WHERE user_id = 1 ORDER BY at;

-- What a session holds is a GROUP BY over that.
SELECT sessions, count(*) AS users
FROM (SELECT user_id, max(session) AS sessions
      FROM (SELECT user_id, eventkit.sessionize(at, '30 minutes') OVER (PARTITION BY user_id ORDER BY at) AS session
            FROM clicks) AS numbered GROUP BY user_id) AS users
GROUP BY sessions ORDER BY sessions;

-- The same over event arrays, a row for each session.
CREATE TABLE user_events AS
SELECT user_id, array_agg(jsonb_build_object('event', event, 'time', at) ORDER BY at) AS events FROM clicks GROUP BY user_id;
SELECT user_id, session, started_at, duration, event_count
FROM user_events, eventkit.sessionize(events, '30 minutes') WHERE user_id <= 2 ORDER BY user_id, session;

-- 150 users searched again within ten minutes; 100 bought; both ways of counting sessions agree.
SELECT (SELECT count(*) FROM (SELECT eventkit.sequence_match('(?1)(?t<=600)(?1)', at, event = 'search') AS again
                              FROM clicks GROUP BY user_id) AS users WHERE again) = 150
   AND (SELECT sum(bought) FROM (SELECT eventkit.sequence_count('(?1)', at, event = 'buy') AS bought
                                 FROM clicks GROUP BY user_id) AS users) = 100
   AND (SELECT count(*) FROM user_events, eventkit.sessionize(events, '30 minutes'))
     = (SELECT count(DISTINCT (user_id, session))
        FROM (SELECT user_id, eventkit.sessionize(at, '30 minutes') OVER (PARTITION BY user_id ORDER BY at) AS session
              FROM clicks) AS numbered) AS ok;
