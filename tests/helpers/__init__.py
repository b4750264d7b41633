"""What several tests share: small environments, runs, a command line, evidence."""
