"""Documents -> requests -> responses -> scores: the only room that imports lm_eval, torch and transformers."""
