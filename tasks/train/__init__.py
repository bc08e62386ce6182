"""The train stage: a model folder from train and val rows.

python -m tasks.train TRAIN.parquet VAL.parquet REPLAY.parquet START.json MODEL_FOLDER REPORT_FOLDER WORK_FOLDER

context.py      what every function of a training needs: params, device, scratch folder, progress
loop.py         the training loop: AdamW, best epoch, early stopping, checkpoints
checkpoint.py   how a killed run goes on to the same bits
parent.py       the version that training continues from, if START.json names one
encoder/        classifiers: the probe, fine-tuning from it, refit
decoder/        causal language models: instructions (sft.py), preferences (preference.py)
distributed/    one training spread over processes
"""
