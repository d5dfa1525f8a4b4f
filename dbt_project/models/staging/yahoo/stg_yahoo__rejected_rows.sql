-- Rows of answers that could not become a split or a dividend, with the reason and the row as it was received
-- (macros/answers/rows_of_answers.sql); marts.rejected_rows is made of them.
with

rejected as (
    {{ rejected_event_rows(yahoo_split_events(), yahoo_dividend_events()) }}
)

select * from rejected
