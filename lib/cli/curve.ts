import { stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { writeCurve } from "../train/curve";
import { logFile } from "../train/loggers";
import { textChart } from "../train/text_chart";
import { type Command, UsageError } from "./command";
import { plural } from "./text";

export const curveCommand: Command = {
  name: "curve",
  summary: "Draws the losses and the learning rate of a run as SVG, and the losses as text.",
  details:
    "PATH is the output folder of train, or its log.jsonl; the picture is written beside the log, as curve.svg. train writes it at the end of a run; this command draws it for a run that goes on or was interrupted.",
  positionals: ["PATH"],
  flags: [],
  async run({ positionals, terminal }) {
    const given = positionals[0];
    if (given === undefined) throw new UsageError("Expected a PATH: the output folder of train, or its log.jsonl");
    const isFolder = (await stat(given).catch(() => undefined))?.isDirectory();
    if (!isFolder && basename(given) !== logFile)
      throw new UsageError(`Expected a folder, or a file named ${logFile}, but received ${JSON.stringify(given)}`);
    const { path, points } = await writeCurve(isFolder ? given : dirname(given));
    const [steps, evaluations] = [points.loss.length, points.evalLoss.length];
    terminal.event({ path, steps, evaluations });
    for (const line of textChart(points, terminal.width)) terminal.print(line);
    terminal.print(`${plural(steps, "step")} and ${plural(evaluations, "evaluation")} are drawn in ${path}`);
  },
};
