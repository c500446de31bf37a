"""Tools of MCP servers. Only what asks for them imports it: the SDK is an extra, and takes half a second to load."""
