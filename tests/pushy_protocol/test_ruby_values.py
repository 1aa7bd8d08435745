"""Ruby's literals, the statements that set them, and everything that is skipped."""

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pushy_protocol.ruby_values import (
    MAX_DEPTH,
    MAX_LENGTH,
    Constant,
    Hash,
    Pair,
    Reading,
    Regex,
    Skipped,
    Symbol,
    Value,
    plain,
    read_values,
)

KNIFE_RB = """\
# See https://docs.chef.io/workstation/config_rb/
current_dir = File.dirname(__FILE__)
log_level                :info
log_location             STDOUT
node_name                "admin"   # that is me
client_key               "#{current_dir}/admin.pem"
chef_server_url          'https://chef.example.com/organizations/acme'
cookbook_path            ["#{current_dir}/../cookbooks",
                          "#{current_dir}/../site"]
knife[:editor] = "vi"
"""


def value_of(source: str, **known: str) -> Value:
    reading = read_values(f"x {source}\n", **known)  # type: ignore[arg-type]  # `file` alone
    assert reading.skipped == (), reading
    assert [setting.path for setting in reading.settings] == [("x",)]
    return reading.settings[0].value


def skipped(text: str) -> list[tuple[int, int, str]]:
    return [(statement.line, statement.last_line, statement.text) for statement in read_values(text).skipped]


def set_by(text: str) -> dict[tuple[str, ...], Value]:
    reading = read_values(text)
    assert reading.skipped == ()
    return {setting.path: setting.value for setting in reading.settings}


def test_a_knife_rb() -> None:
    reading = read_values(KNIFE_RB, file="/home/me/.chef/knife.rb")
    assert reading.skipped == ()
    assert reading.values() == {
        "log_level": "info",
        "log_location": "STDOUT",
        "node_name": "admin",
        "client_key": "/home/me/.chef/admin.pem",
        "chef_server_url": "https://chef.example.com/organizations/acme",
        "cookbook_path": ["/home/me/.chef/../cookbooks", "/home/me/.chef/../site"],
    }
    assert [(setting.path, setting.line) for setting in reading.settings][-1] == (("knife", "editor"), 10)
    assert [(variable.path, variable.value) for variable in reading.variables] == [(("current_dir",), "/home/me/.chef")]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (r"'it\'s \\1 \n'", r"it's \1 \n"),
        (r'"\ud800\u{110000}"', "\ufffd\ufffd"),
        (r'"a\tb\e\x41\u0042\u{1F600}\101\q\"#"', 'a\tb\x1bAB\U0001f600Aq"#'),
        ("'a' \"b\" \\\n  'c'", "abc"),
        ("'a' +\n 'b'", "ab"),
        ("%q(a (b) 'c' #{d})", "a (b) 'c' #{d}"),
        ('%Q{a "b"}', 'a "b"'),
        ("%(a)", "a"),
        ("%w[a b\n c]", ("a", "b", "c")),
        ("%i(a b)", (Symbol("a"), Symbol("b"))),
        (":verify_peer", Symbol("verify_peer")),
        (":'a b'", Symbol("a b")),
        ("true", True),
        ("false", False),
        ("nil", None),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0b101", 5),
        ("0755", 493),
        ("-7", -7),
        ("1.5e3", 1500.0),
        ("-0.5", -0.5),
        ("(1)", 1),
        ("[]", ()),
        ("[1, [:a, nil],\n]", (1, (Symbol("a"), None))),
        ("{}", Hash(())),
        ("STDOUT", Constant("STDOUT")),
        ("OpenSSL::SSL::VERIFY_NONE", Constant("OpenSSL::SSL::VERIFY_NONE")),
        (r"/^a\/b (\w+)$/i", Regex(r"^a/b (\w+)$", "i")),
        (r"%r{^/usr/(a{2})\}$}", Regex(r"^/usr/(a{2})\}$")),
        ("(/a b/)", Regex("a b")),
        ("(/a\\\nb/)", Regex("ab")),
    ],
)
def test_literals(source: str, expected: Value) -> None:
    assert value_of(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        "{ 'a' => 1, :b => [2], c: nil, \"d e\": :f }",
        "{'a'=>1,:b=>[2],c: nil,'d e': :f,}",
        "{\n  'a' =>\n 1, # one\n :b => [2],\n\n c: nil,\n 'd e': :f\n}",
        "({ 'a' => 1, :b => [2], c: nil, \"d e\": :f })",
        "'a' => 1, :b => [2], c: nil, 'd e': :f",
        "'a' => 1,\n  :b => [2],\n  c: nil, 'd e': :f",
    ],
)
def test_hashes(source: str) -> None:
    value = value_of(source)
    assert isinstance(value, Hash)
    assert [(pair.key, pair.value) for pair in value.pairs] == [
        ("a", 1),
        (Symbol("b"), (2,)),
        (Symbol("c"), None),
        (Symbol("d e"), Symbol("f")),
    ]
    assert plain(value) == {"a": 1, "b": [2], "c": None, "d e": "f"}


def test_entries_have_their_lines() -> None:
    value = value_of("({\n  'a' => 'b',\n\n  /c/ => {\n    :d => 1\n  }\n})")
    assert value == Hash(
        (
            Pair(key="a", value="b", line=2),
            Pair(key=Regex("c"), value=Hash((Pair(key=Symbol("d"), value=1, line=5),)), line=4),
        )
    )


def test_what_is_set() -> None:
    assert set_by(
        """
        a 'x'
        b('x')
        c(
          'x'
        )
        d ({ 'x' => 1 })
        e[:f]['g'] = 1
        h.i = 2
        h.j 3
        Chef::Config[:k] = 4
        Chef::Config.l 5
        ENV['LC_ALL'] = 'C'
        m 'x', :y
        n 1; o 2
        """
    ) == {
        ("a",): "x",
        ("b",): "x",
        ("c",): "x",
        ("d",): Hash((Pair(key="x", value=1, line=7),)),
        ("e", "f", "g"): 1,
        ("h", "i"): 2,
        ("h", "j"): 3,
        ("k",): 4,
        ("l",): 5,
        ("ENV", "LC_ALL"): "C",
        ("m",): ("x", Symbol("y")),
        ("n",): 1,
        ("o",): 2,
    }


def test_the_last_one_counts() -> None:
    reading = read_values("a 1\na 2\nb.a 3\n")
    assert reading.values() == {"a": 2}
    assert [setting.line for setting in reading.settings] == [1, 2, 3]


def test_a_local_variable_is_no_setting() -> None:
    reading = read_values("node_name = 'a'\nLC_ALL='C'\n")
    assert (reading.settings, reading.skipped) == ((), ())
    assert [(variable.path, variable.value) for variable in reading.variables] == [
        (("node_name",), "a"),
        (("LC_ALL",), "C"),
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('"#{__dir__}/a"', "/etc/chef/a"),
        ("__FILE__", "/etc/chef/client.rb"),
        ("File.join(File.dirname(__FILE__), '/a/', 'b')", "/etc/chef/a/b"),
        ("File.expand_path('../a', __FILE__)", "/etc/chef/a"),
        ("File.expand_path('../a', __dir__)", "/etc/a"),
        ("File.expand_path('~/a')", "~/a"),
        ("\"#{ENV['HOME']}/a\"", "/home/me/a"),
        ('"#{"#{:a}#{1}"}"', "a1"),
    ],
)
def test_what_stands_for_a_value(source: str, expected: str) -> None:
    text = f"x {source}\n"
    assert read_values(text, file="/etc/chef/client.rb", environment={"HOME": "/home/me"}).values() == {"x": expected}
    if expected not in {"~/a", "a1"}:
        assert skipped(text) == [(1, 1, text.strip())]


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "x y",
        "x y.z",
        "x FOO",
        "x 'a' if y",
        "x 'a' unless y",
        "x 'a'.upcase",
        "x 'a'\n  .upcase",
        "x 'a'.\n  upcase",
        "x ['a'].first",
        "x 'a' ||\n 'b'",
        "x ||= 'a'",
        "x << 'a'",
        "x 'a' + 1",
        'x "#{y}"',
        'x "#@y"',
        'x "#{nil}"',
        'x "#{{}}"',
        "x [1, y]",
        "x [1 2]",
        "x { |y| z }",
        "x {\n  'a'\n}",
        "x(1) { 2 }",
        "x(1,",
        "x = `ls`",
        "x %x(ls)",
        "x -y",
        "x 089",
        "x 1e999",
        "x = 1, 2",
        "x[1] = 2",
        "x.Y 2",
        "x*2",
        "require",
        "x 'unended",
        'x "unended #{',
        'x "unended #{"',
        "x 'a\\",
        "if a then b 'c' end",
        "if a\n  x 'b'\nelse\n  x 'c'\nend",
        "unless a\n  x 'b'\nend",
        "case a\nwhen 1 then x 'b'\nend",
        "begin\n  x 'a'\nrescue => e\n  x 'b'\nend",
        "while a do\n  x 'b'\nend",
        "until a\n  x 'b'\nend",
        "for a in b do\n  x a\n  c do\n    d\n  end\nend",
        "def a\n  x 'b'\nend",
        "class A < B\n  x 'b'\nend",
        "module A; x 'b'; end",
        "a.each do |b|\n  x 'b' if c\n  if d\n    x 'e'\n  end\nend",
        "a.each { |b|\n  x 'b'\n}",
        "x = if a\n  'b'\nelse\n  'c'\nend",
        "x = a ? 'b' : 'c'",
        "x(a do\n  1\nend)",
        "end",
        ")",
        "'a'",
        "<%= a %>",
    ],
)
def test_what_is_no_value_is_skipped_as_a_whole(text: str) -> None:
    reading = read_values(f"before 1\n{text}\n")
    assert [setting.path for setting in reading.settings] == [("before",)]
    assert reading.variables == ()
    assert [(lines.line, lines.last_line) for lines in reading.skipped] == [(2, 2 + text.count("\n"))]
    assert reading.skipped[0].text == text.partition("\n")[0].strip()


@pytest.mark.parametrize("text", ["x y", "if a\n  b\nend", "x 'a' if y", "x <<~EOS\n  'a\nEOS", "x a.end", "x a.class"])
def test_what_follows_is_read_again(text: str) -> None:
    reading = read_values(f"{text}\nafter 1\n")
    assert reading.values() == {"after": 1}


def test_a_heredoc_is_refused_and_passed_over() -> None:
    text = "a <<-ONE, <<~'TWO'\n  b 'c'\n  ONE\n  d \"\n  TWO\ne 1\n"
    assert read_values(text).values() == {"e": 1}
    assert [statement.line for statement in read_values(text).skipped] == [1]


def test_comments_and_what_follows_the_end() -> None:
    text = "# a 'b'\n=begin\nc 'd'\n=end of it\ne 'f#g' # h\n__END__\ni 'j'\n"
    reading = read_values(text)
    assert (reading.values(), reading.skipped) == ({"e": "f#g"}, ())


def test_a_variable_that_may_have_changed_is_not_believed() -> None:
    assert skipped("a = 'b'\na = c()\nx a\n") == [(2, 2, "a = c()"), (3, 3, "x a")]
    assert skipped("a = 'b'\nif c\n  a << 'd'\nend\nx a\n") == [(2, 4, "if c"), (5, 5, "x a")]


def test_skipped_lines_are_named() -> None:
    assert str(Skipped(line=3, last_line=3, text="x y")) == "3: x y"
    assert str(Skipped(line=3, last_line=5, text="if x")) == "3-5: if x"


def test_values_do_not_grow_without_end() -> None:
    doubling = "".join('a = "#{a}#{a}"\n' for _ in range(64))
    reading = read_values(f'a = "0123456789"\n{doubling}x a\n')
    assert len(reading.skipped) > 1
    assert all(len(str(variable.value)) <= MAX_LENGTH for variable in reading.variables)
    assert skipped("a = [1]\nb = [a, a]\nx a\n") == [(2, 2, "b = [a, a]")]


@pytest.mark.parametrize("opening", ["[", "(", "{ 'a' => ", '"#{', "File.join(", "ENV["])
def test_depth_is_limited(opening: str) -> None:
    text = f"x {opening * 1_000}\n"
    assert skipped(text) == [(1, 1, text.strip())]


def test_up_to_its_limit_depth_is_none() -> None:
    assert value_of("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None


# What hypothesis makes, as Ruby writes it.

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)


def single_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def double_quoted(text: str) -> str:
    # JSON's escapes are Ruby's too, but for what begins with a #.
    return json.dumps(text, ensure_ascii=False).replace("#", "\\#")


strings = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=20)
scalars: st.SearchStrategy[Value] = st.one_of(
    strings,
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    NAMES.map(Symbol),
    st.from_regex(r"[a-z0-9 ()^$*'\"#/-]{1,12}", fullmatch=True).map(Regex),
)


def hashes(values: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    pairs = st.tuples(scalars, values).map(lambda pair: Pair(key=pair[0], value=pair[1], line=1))
    return st.lists(pairs, max_size=4).map(lambda found: Hash(tuple(found)))


values = st.recursive(scalars, lambda inner: st.one_of(st.lists(inner, max_size=4).map(tuple), hashes(inner)))


def as_ruby(value: Value, draw: st.DataObject) -> str:
    match value:
        case str():
            # A newline within quotes is one, but lines are counted.
            plain_quotes = "\n" not in value and draw.draw(st.booleans())
            return single_quoted(value) if plain_quotes else double_quoted(value)
        case None:
            return "nil"
        case bool():
            return str(value).lower()
        case Symbol(name):
            return f":{name}"
        case Regex(source):
            return "/" + source.replace("/", "\\/") + "/"
        case tuple():
            return "[" + ", ".join(as_ruby(item, draw) for item in value) + "]"
        case Hash(pairs):
            return "{" + ", ".join(f"{as_ruby(pair.key, draw)} => {as_ruby(pair.value, draw)}" for pair in pairs) + "}"
    return repr(value)


@given(name=NAMES, value=values, data=st.data())
def test_what_is_written_is_read(name: str, value: Value, data: st.DataObject) -> None:
    reading = read_values(f"set_{name}({as_ruby(value, data)})\n")
    assert reading.skipped == ()
    assert [(setting.path, setting.value) for setting in reading.settings] == [((f"set_{name}",), value)]


PIECES = [*"()[]{}<>'\"`/%#:,.;=|&+-*!?$@\\ \n\t", "=>", "::", "#{", "<<~A", "%w[", "%r{", "%q", "\nA\n", "\n=begin\n"]
PIECES += [
    "\n=end\n",
    "\n__END__\n",
    "do",
    "end",
    "if",
    "while",
    "def",
    "x",
    "a: ",
    ":b",
    "'c'",
    '"d"',
    "1",
    "0x",
    "1e9",
]
PIECES += ["File.join(", "ENV[", "__FILE__", "\r\n", "\0", "\u00e9", "\u2028", "\ufeff", "Chef::Config[:x] = "]
soup = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)


def check_reading(text: str, reading: Reading) -> None:
    assert re.fullmatch(r"\d+(-\d+)?: .*", str(reading.skipped[0]), re.DOTALL) if reading.skipped else True
    before = 0
    for statement in reading.skipped:
        # In order, and each within the text.
        assert max(before, 1) <= statement.line <= statement.last_line <= text.count("\n") + 1
        before = statement.line
    json.dumps(reading.values(), ensure_ascii=False).encode()


@given(text=soup)
@example("\n\u2028")  # no space to Ruby, though to Python
@example("x <<~A")
@example("x <<~A\n")
@example("=begin")
@example("x '")
@example("x \\")
@example('x "\\')
@example("%")
@example("x %")
@example("x /")
def test_no_soup_makes_it_fail(text: str) -> None:
    check_reading(text, read_values(text, file="/a/b", environment={"A": "b"}))


@given(text=st.text())
def test_no_text_makes_it_fail(text: str) -> None:
    check_reading(text, read_values(text))
