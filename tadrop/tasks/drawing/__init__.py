"""How the embedded tasks are drawn: their characters, their looks, ink on paper."""
