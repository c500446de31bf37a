"""How model servers answer: one row for each odd shape ever seen. A newly found oddity is one more row."""

from tests.support.wires import anthropic, chat, every_wire, google, plugin, responses

SHAPES = [shape for table in (every_wire, chat, responses, anthropic, google, plugin) for shape in table.shapes()]
