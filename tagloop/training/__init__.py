"""How an update is computed. Knows no words."""
