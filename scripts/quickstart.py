"""From an environment to a dream: run it, or step through its cells."""

# %% An environment: batches of frames in, scaled actions out
import worldmodels as wm

env = wm.make_env("worldmodels/CliffHill-v0", num_envs=10)

# %% A world model, and a planner that acts inside it
model = wm.WorldModel(env.obs_shape, env.action_space)
planner = wm.CEM(env.action_space, horizon=12, candidates=100, iterations=4, elites=10)
agent = wm.Agent(model, wm.MPC(planner))

# %% Collect, learn, collect with what was learned
batches, collect = wm.Batches(batch_size=8, batch_length=16), wm.Collect(prefill=2000)
run = wm.train(agent, env, name="quickstart", updates=400, batches=batches, collect=collect)
print(run)

# %% How well does it act, and how far can its predictions be trusted?
print(wm.evaluate(run, episodes=10))

# %% What it predicts, beside what happened
print(wm.imagine(run, "quickstart.mp4"))
