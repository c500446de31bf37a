"""Model answers as servers really stream them: what every provider's answer needs before anybody can rely on it."""
