"""The server mounted into an application that has its own WebSockets with other options."""

from __future__ import annotations

from flask import Flask
from flask_sock import Sock
from simple_websocket import Server

from app import init_app
from settings import Settings

app = Flask(__name__)
app.config["SOCK_SERVER_OPTIONS"] = {"ping_interval": 1, "max_message_size": 10}


@Sock(app).route("/echo")
def echo(server: Server) -> None:
    while True:
        server.send(server.receive())


init_app(app, Settings())
