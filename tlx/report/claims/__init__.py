"""Whether a study's records bear out what an experiment claims: held, failed, or not testable here."""
