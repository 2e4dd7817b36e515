"""What tests are made of: models that follow a script, tiny real ones, servers, hostile texts, summaries made by hand. No test stands here."""
