"""Which SQL an agent may run: one statement that reads. What is run is what was understood, written anew."""

import logging

from sqlglot import exp
from sqlglot.dialects.postgres import Postgres
from sqlglot.errors import ErrorLevel, SqlglotError
from sqlglot.parsers.postgres import PostgresParser
from sqlglot.tokenizer_core import TokenType

from domain.errors import SqlRefused

LONGEST = 10_000

# The parser goes back and forth at some nestings, twice as long a level; an honest statement takes two steps a token.
_STEPS_A_TOKEN = 10
_STEPS = 1_000
# Each one of a row of brackets makes it look at all before it again.
_BRACKETS = 100

# It says in its log what it cannot parse, which is a user's text.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)

_POSTGRES = Postgres()
_WRITER = Postgres.Generator
_ROOTS = (exp.Select, exp.SetOperation, exp.Subquery, exp.Values)
_REFUSED: dict[type[exp.Expr], str] = {
    exp.DML: "It changes data",
    exp.DDL: "It changes the schema",
    exp.Into: "SELECT INTO makes a table",
    exp.Lock: "It locks rows",
    exp.Command: "It is a command",
    exp.Operator: "OPERATOR(…) is not run: write the operator itself",
}
# Functions that only compute and aggregate. Besides these run what sqlglot has a way of its own to write for
# PostgreSQL: its knowing a name is not enough, since it knows those of other databases, which an extension may have.
_NAMES = """
    abs acos acosh age array_agg array_length array_position array_remove array_reverse array_to_string ascii asin
    asinh atan atan2 atanh avg bit_length bool_and bool_or btrim cardinality cbrt char_length character_length chr
    clock_timestamp coalesce concat_ws convert_from corr cos cosh cot count covar_pop covar_samp cume_dist
    current_database current_role current_schemas current_time date date_bin date_part date_trunc daterange decode
    degrees dense_rank encode every exp factorial first_value format gen_random_uuid greatest grouping host
    int4range int8range isempty isfinite json_array_elements json_array_elements_text json_array_length
    json_build_array json_build_object json_each json_each_text json_object json_object_keys json_populate_recordset
    json_strip_nulls json_to_recordset json_typeof jsonb_agg jsonb_array_elements jsonb_array_elements_text
    jsonb_array_length jsonb_build_array jsonb_build_object jsonb_contains jsonb_each jsonb_each_text jsonb_exists
    jsonb_object jsonb_object_keys jsonb_path_exists jsonb_path_query jsonb_path_query_array jsonb_path_query_first
    jsonb_pretty jsonb_set jsonb_strip_nulls jsonb_to_recordset jsonb_typeof justify_days justify_hours
    justify_interval lag last_value lead least left length ln lower lower_inc make_date make_interval
    make_timestamptz md5 mode normalize ntile nullif num_nonnulls num_nulls numrange octet_length overlay
    percent_rank percentile_cont percentile_disc phraseto_tsquery pi plainto_tsquery position pow power quote_ident
    quote_literal radians range_merge rank regexp_count regexp_instr regexp_match regexp_matches
    regexp_split_to_array regexp_split_to_table regexp_substr regr_avgx regr_avgy regr_count regr_intercept regr_r2
    regr_slope regr_sxx regr_sxy regr_syy repeat replace reverse right row_number scale sign similarity sin sinh
    split_part sqrt starts_with stddev stddev_pop stddev_samp string_to_array string_to_table strpos substr
    substring sum tan tanh time timestamp to_ascii to_char to_json to_jsonb to_number to_tsquery to_tsvector
    translate trim trim_scale trunc ts_headline ts_rank ts_rank_cd tsrange tstzrange unnest upper upper_inc var_pop
    var_samp websearch_to_tsquery width_bucket word_similarity
"""
_FUNCTIONS = frozenset(_NAMES.split())
# The parser and the writer check little of what they are given, and stumble over it.
_UNREADABLE = (SqlglotError, RecursionError, AssertionError, AttributeError, LookupError, TypeError, ValueError)


def checked(statement: str) -> str:
    """Give the statement as it may be run. Raises `SqlRefused`, in words that help whoever wrote it.

    What is checked is what will be run, parsed once more: the parser takes any text as a field of `EXTRACT`, and writes
    it as it came.
    """
    if len(statement) > LONGEST:
        raise SqlRefused(f"The statement is longer than {LONGEST} characters.")
    written = _written(_checked(statement))
    _checked(written)
    return written


def _checked(statement: str) -> exp.Expr:
    try:
        trees = _parsed(statement)
    except _UNREADABLE as error:
        raise SqlRefused("The statement cannot be parsed as PostgreSQL. Write it in a simpler way.") from error
    if len(trees) != 1:
        raise SqlRefused("Send one statement, without another one behind a semicolon.")
    (tree,) = trees
    if not isinstance(tree, _ROOTS):
        raise SqlRefused("Only statements that read are run: SELECT, UNION, WITH … SELECT, VALUES.")
    for node in tree.walk():
        _check(node)
    return tree


def _written(tree: exp.Expr) -> str:
    try:
        return tree.sql(dialect=_POSTGRES, comments=False, unsupported_level=ErrorLevel.RAISE)
    except _UNREADABLE as error:
        raise SqlRefused("The statement holds what PostgreSQL does not have. Write it in a simpler way.") from error


def _parsed(statement: str) -> list[exp.Expr]:
    tokens = _POSTGRES.tokenize(statement)
    if sum(token.token_type is TokenType.L_BRACKET for token in tokens) > _BRACKETS:
        raise ValueError("too many brackets")
    parser = _Parser(dialect=_POSTGRES)
    parser.steps = _STEPS + _STEPS_A_TOKEN * len(tokens)
    return [tree for tree in parser.parse(tokens, statement) if tree is not None]


class _Parser(PostgresParser):
    """Gives up after so many steps."""

    steps: int

    def _advance(self, times: int = 1) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise RecursionError("too intricate")
        super()._advance(times)


def _check(node: exp.Expr) -> None:
    for kind, reason in _REFUSED.items():
        if isinstance(node, kind):
            raise SqlRefused(f"{reason}, and only statements that read are run.")
    if isinstance(node, exp.Parameter):
        raise SqlRefused("Parameters such as $1 are not offered. Write the values into the statement.")
    if isinstance(node, exp.Func) and not _is_known(node):
        raise SqlRefused(f"The function {_name(node)[:60]} is not among those that may be called.")
    if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Func):
        raise SqlRefused("Call functions without the name of a schema.")
    if isinstance(node, exp.Table) and isinstance(node.this, exp.Func) and node.args.get("db") is not None:
        raise SqlRefused("Call functions without the name of a schema.")


def _is_known(function: exp.Func) -> bool:
    if isinstance(function, exp.Anonymous):
        return function.name.lower() in _FUNCTIONS
    kind = type(function)
    if kind in _WRITER.TRANSFORMS or hasattr(_WRITER, f"{kind.key}_sql"):
        return True
    return any(name.lower() in _FUNCTIONS for name in kind.sql_names())


def _name(function: exp.Func) -> str:
    return function.name if isinstance(function, exp.Anonymous) else function.sql_name()
