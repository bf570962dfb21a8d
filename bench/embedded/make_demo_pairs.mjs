/**
 * Writes the examples of `rubricate demo`: sentences about a subject, and the office of the government that deals with it.
 *
 *     node bench/embedded/make_demo_pairs.mjs lib/embedded/default/demo_pairs.json
 *
 * Ten subjects of eight offices in ten sentences each. Every subject and every sentence occurs in training; one in five combinations
 * of the two is held out, the same number for each office.
 */
import { writeFileSync } from "node:fs";

const offices = {
  War: "army, soldiers, regiments, cavalry, artillery, forts, troops, military academy, militia, volunteers",
  Navy: "fleet, ships of war, sailors, navy yards, cruisers, marines, squadron, gunboats, battle ships, naval vessels",
  Treasury: "taxes, public debt, revenue, tariff, banks, gold coin, customs duties, surplus, currency, silver dollars",
  State:
    "treaty, foreign ministers, embassy, consuls, negotiations, envoys, arbitration, boundary, alliance, peace conference",
  Interior:
    "public lands, Indian tribes, pensions, settlers, patents, homesteads, census, reservations, forests, Territories",
  "Post Office":
    "mails, postage, letters, postmasters, mail routes, postal service, stamps, mail steamers, post roads, parcel post",
  Agriculture: "farmers, crops, cotton, corn, wheat, cattle, harvest, seeds, farm prices, soil",
  Justice:
    "courts, judges, crime, trial by jury, Attorney-General, prisons, lawyers, laws against trusts, district attorneys, Supreme Court",
};
const sentences = [
  "I write to you about the X.",
  "The report speaks of the X.",
  "What is to be done about the X?",
  "We must look to the condition of the X.",
  "There is trouble with the X this year.",
  "Congress asks for news of the X.",
  "A letter came in regard to the X.",
  "The people ask about the X.",
  "Send more information on the X.",
  "Who has charge of the X?",
];
const heldOutEvery = 5;

const train = [];
const heldOut = [];
for (const [sentence, text] of sentences.entries())
  for (const subject of Array(10).keys())
    for (const [office, subjects] of Object.entries(offices)) {
      const pair = { prompt: text.replace("X", subjects.split(", ")[subject]), completion: office };
      ((subject + sentence) % heldOutEvery === 4 ? heldOut : train).push(pair);
    }
writeFileSync(process.argv[2], `${JSON.stringify({ train, heldOut })}\n`);
