"""The tool of dev/try-provider's requests, as an MCP server over pipes: it knows something that no model can guess."""

CODES = {"A": "K7Q41", "B": "M2X86"}
TOOL = "code_of_box"


def code_of_box(box: str) -> str:
    """The code that is written on a box. The box is a single letter."""
    return CODES.get(box.strip().upper()[-1:], "there is no such box")


def main() -> None:
    from mcp.server.mcpserver import MCPServer

    server = MCPServer("greenrun-try-provider", log_level="CRITICAL")
    server.tool()(code_of_box)
    server.run("stdio")


if __name__ == "__main__":
    main()
