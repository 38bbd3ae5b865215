"""Program memory, decoder and dispatcher."""
