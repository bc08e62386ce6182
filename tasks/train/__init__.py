"""Fine-tune a base on the train side: a linear probe first, then, if asked, the encoder under it.

python -m tasks.train TRAIN.parquet VAL.parquet MODEL_FOLDER REPORT_FOLDER WORK_FOLDER

fit.py          the story: probe, fine-tuning, refit
probe.py        logistic regression on frozen vectors
loop.py         the optimisation itself
checkpoint.py   how a killed run goes on to the same bits
"""
