# The functions of jq that are written in jq. Those that begin with `_` are for these definitions and rewritten terms.

# Nothing, and errors.
def empty: {}[] as $x | .;
def error: error_empty as $x | .;
def error(messages): (messages | error_empty) as $x | .;
def not: if . then false else true end;
def select(f): if f then . else empty end;

# Repetition.
def recurse(f): def again: ., (f | again); again;
def recurse(f; condition): recurse(f | select(condition));
def recurse: recurse(.[]?);
def repeat(f): def again: f, again; again;
def while(condition; update): def again: if condition then ., (update | again) else empty end; again;
def until(condition; update): def again: if condition then . else update | again end; again;
def range($to): range(0; $to; 1);
def range($from; $to): range($from; $to; 1);
def limit($n; f):
  if $n > 0 then _limit($n; f) elif $n == 0 then empty else error("limit doesn't support negative count") end;
def skip($n; f):
  if $n > 0 then _skip($n | floor; f) elif $n == 0 then f else error("skip doesn't support negative count") end;
def first: .[0];
def last: .[-1];
def nth($n): .[$n];
def nth($n; f): if $n < 0 then error("nth doesn't support negative indices") else first(skip($n; f)) end;
def isempty(f): first((f | false), true);
def any(f; condition): isempty(f | condition or empty) | not;
def all(f; condition): isempty(f | condition and empty);
def any(condition): any(.[]; condition);
def all(condition): all(.[]; condition);
def any: any(.[]; .);
def all: all(.[]; .);

# Kinds of values.
def values: select(. != null);
def nulls: select(. == null);
def booleans: select(type == "boolean");
def numbers: select(type == "number");
def strings: select(type == "string");
def arrays: select(type == "array");
def objects: select(type == "object");
def iterables: select(type == "array" or type == "object");
def scalars: select(type != "array" and type != "object");
def isfinite: type == "number" and (isinfinite | not);
def finites: select(isfinite);
def normals: select(isnormal);
def tostring: "\(.)";
def toarray: if type == "array" then . else [.] end;
def have_literal_numbers: true;
def have_decnum: true;

# Numbers.
def abs: if . < 0 then -. else . end;
def gamma: lgamma;
def lgamma_r: [lgamma, (if tgamma < 0 then -1 else 1 end)];
def drem($x; $y): remainder($x; $y);
def nexttoward($x; $y): nextafter($x; $y);
def scalb($x; $e): $x * pow(2; $e);
def significand: if . == 0 or isinfinite or isnan then . else frexp[0] * 2 end;
def logb: if . == 0 then -infinite elif isinfinite then infinite elif isnan then . else frexp[1] - 1 end;

# Arrays and objects.
def map(f): [.[] | f];
def map_values(f): .[] |= f;
def add(f): reduce f as $x (null; . + $x);
def add: add(.[]);
def sort_by(f): _sort_by([.[] | [f]]);
def group_by(f): _group_by([.[] | [f]]);
def unique_by(f): _unique_by([.[] | [f]]);
def min_by(f): _min_by([.[] | [f]]);
def max_by(f): _max_by([.[] | [f]]);
def flatten: _flatten(-1);
def flatten($depth): if $depth < 0 then error("flatten depth must not be negative") else _flatten($depth) end;
def in(xs): . as $key | xs | has($key);
def inside(xs): . as $part | xs | contains($part);
def index($part): indices($part) | .[0];
def rindex($part): indices($part) | .[-1:][0];
def transpose: . as $rows | [range(0; map(length) | max // 0) as $i | [$rows[][$i]]];
def combinations: if length == 0 then [] else .[0][] as $one | (.[1:] | combinations) as $more | [$one] + $more end;
def combinations($n): [range($n) as $i | .] | combinations;
def walk(f):
  def step: (if type == "object" then map_values(step) elif type == "array" then map(step) else . end) | f;
  step;
def to_entries: [keys_unsorted[] as $key | {key: $key, value: .[$key]}];
def from_entries:
  reduce .[] as $e ({};
    . + {($e | .key // .Key // .name // .Name): ($e | if has("value") then .value else .Value end)});
def with_entries(f): to_entries | map(f) | from_entries;

# Paths.
def paths: path(recurse) | select(length > 0);
def paths(f): path(recurse | select(f)) | select(length > 0);
def leaf_paths: paths(type != "array" and type != "object");
def getpath($path): reduce $path[] as $step (.; .[$step]);
def del(f): delpaths([path(f)]);
def pick(f): . as $in | reduce path(f) as $p (null; setpath($p; $in | getpath($p)));
def _assign(f; $value): reduce path(f) as $p (.; setpath($p; $value));
def _modify(f; g):
  reduce path(f) as $p ({now: ., gone: []};
    [.now | getpath($p) | first(g)] as $new
    | if $new == [] then .gone += [$p] else .now |= setpath($p; $new[0]) end)
  | .gone as $gone | .now | delpaths($gone);

# Streams of events.
def tostream:
  def events($at):
    if (type == "array" or type == "object") and length > 0
    then keys_unsorted as $keys | ($keys[] as $key | .[$key] | events($at + [$key])), [$at + [$keys[-1]]]
    else [$at, .] end;
  events([]);
def fromstream(f):
  foreach f as $event ({value: null, done: false};
    (if .done then {value: null, done: false} else . end)
    | if ($event | length) == 2
      then (.value |= setpath($event[0]; $event[1])) | .done = ($event[0] | length == 0)
      else .done = ($event[0] | length == 1) end;
    if .done then .value else empty end);
def truncate_stream(f): . as $depth | null | f | if (.[0] | length) > $depth then .[0] |= .[$depth:] else empty end;

# Regular expressions.
def _pattern: if type == "array" then . else [.] end;
def match($re; $flags): _match($re; $flags)[];
def match($re): ($re | _pattern) as $p | match($p[0]; $p[1]);
def test($re; $flags): _test($re; $flags);
def test($re): ($re | _pattern) as $p | test($p[0]; $p[1]);
def capture($re; $flags):
  match($re; $flags) | reduce (.captures[] | select(.name != null)) as $c ({}; .[$c.name] = $c.string);
def capture($re): ($re | _pattern) as $p | capture($p[0]; $p[1]);
def scan($re; $flags): match($re; "g" + $flags) | if .captures == [] then .string else [.captures[].string] end;
def scan($re): scan($re; null);
def split($re; $flags): _split($re; "g" + $flags);
def splits($re; $flags): split($re; $flags)[];
def splits($re): splits($re; null);
def sub($re; f; $flags): _sub($re; f; $flags);
def sub($re; f): _sub($re; f; null);
def gsub($re; f; $flags): _sub($re; f; $flags + "g");
def gsub($re; f): _sub($re; f; "g");

# Dates.
def todateiso8601: strftime("%Y-%m-%dT%H:%M:%SZ");
def fromdateiso8601: strptime("%Y-%m-%dT%H:%M:%SZ") | mktime;
def todate: todateiso8601;
def fromdate: fromdateiso8601;

# As in SQL.
def IN(f): any(f == .; .);
def IN(f; g): any(f == g; .);
def INDEX(f; key): reduce f as $row ({}; .[$row | key | tostring] = $row);
def INDEX(key): INDEX(.[]; key);
def JOIN($index; key): [.[] | [., $index[key]]];
def JOIN($index; f; key): f | [., $index[key]];
def JOIN($index; f; key; join): f | [., $index[key]] | join;

# They print nothing: an item must not get into a log.
def debug: .;
def debug(messages): (messages | empty), .;
def stderr: .;
