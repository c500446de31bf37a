"""How model servers answer: one row for each odd shape that was ever seen. The next odd server is one more row."""

from tests.support.wires import anthropic, chat, every_wire, google, plugin, responses

SHAPES = [shape for table in (every_wire, chat, responses, anthropic, google, plugin) for shape in table.shapes()]
