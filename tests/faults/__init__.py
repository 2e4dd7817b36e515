"""The fault harness: real runs of the gate on tiny models, killed and disturbed on purpose. ``make faults`` runs all of it.

It ends with one JSON object on its last line:

kills
    Runs that ended by SIGKILL, whoever sent it: the run itself at a chosen point, or the harness at a random time.
kills_between_responses
    Those in which this very run had committed a response of its own, and the store still lacked some. The store is read before
    and after, from a copy, so that looking at it does not do the recovery that the next run has to do.
kills_in_transaction
    Those that came while a write transaction was open: a second connection was refused the lock just before the kill, or the
    connection itself said so.
lost
    Responses that were in the store right after a kill and at a later look were gone, or said something else.
recomputed_requests, max_recomputed_per_kill
    Rows (a prompt with what is scored behind it, on one model) that a killed run had handed to the model and a later run of the
    chain handed to it again, on lm-eval's path. A row is counted before the model sees it. The probe of a freshly loaded model is no request.
chains, chains_equal
    Series of kills and resumes up to an undisturbed end, and those of them that ended as a run that was left alone: at batch size 1 in
    the same files, byte for byte but for times; at batch size 4, and on the default executor (16: as many as it asks at once), in the same texts,
    scores and verdicts, with log-probabilities within 1e-4.
faults
    For each injected fault the number of runs, and what was seen. An outcome begins with ``kept``, ``BROKEN`` or ``skipped``.
"""
